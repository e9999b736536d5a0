"""The page that says what the API takes and gives: written here from OpenAPI, so that nothing comes from elsewhere."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from notify.http.context import InContext

SCHEMA = "#/components/schemas/"
METHODS = ("get", "put", "post", "patch", "delete")

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/docs")
def show(request: Request, context: InContext) -> HTMLResponse:
    """Every call, and every shape that a call takes or answers."""
    described = request.app.openapi()
    facts = {
        "title": described["info"]["title"],
        "summary": described["info"].get("summary", ""),
        "calls": list(_calls(described["paths"])),
        "shapes": list(_shapes(described["components"]["schemas"])),
    }
    return context.pages.render("reference", facts)


def _calls(paths: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, object]]:
    for path, operations in paths.items():
        for method in METHODS:
            if method in operations:
                yield _call(method, path, operations[method])


def _call(method: str, path: str, operation: Mapping[str, Any]) -> dict[str, object]:
    body = operation.get("requestBody", {}).get("content", {})
    return {
        "method": method.upper(),
        "path": path,
        "words": operation.get("description") or operation.get("summary", ""),
        "fields": [
            _field(
                one["name"], one.get("schema", {}), required=one.get("required", False), words=one.get("description")
            )
            for one in operation.get("parameters", [])
        ],
        "takes": [_type(one.get("schema", {})) for one in body.values()],
        "answers": [
            {"status": status, "words": one.get("description", ""), "gives": _given(one)}
            for status, one in operation.get("responses", {}).items()
        ],
    }


def _shapes(schemas: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, object]]:
    for name, schema in sorted(schemas.items()):
        required = schema.get("required", [])
        fields = schema.get("properties", {})
        yield {
            "name": name,
            "words": schema.get("description", ""),
            "fields": [
                _field(field, one, required=field in required, words=one.get("description"))
                for field, one in fields.items()
            ],
        }


def _field(name: str, schema: Mapping[str, Any], *, required: bool, words: str | None) -> dict[str, object]:
    return {"name": name, "type": _type(schema), "required": required, "words": words or ""}


def _given(answer: Mapping[str, Any]) -> str:
    return ", ".join(_type(one.get("schema", {})) for one in answer.get("content", {}).values())


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in one word or a few: the shape's name, the list's, or the JSON type."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(SCHEMA)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[choice]))
    if "enum" in schema:
        return " | ".join(str(one) for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("const") or schema.get("format") or schema.get("type") or "anything")
