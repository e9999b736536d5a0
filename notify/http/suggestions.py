"""Names what a caller may have meant by a field that does not exist, from the OpenAPI document."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fastapi import Request

from notify.domain.similar_names import instead_of

Schema = dict[str, Any]


def unknown_field(request: Request, location: Sequence[str | int]) -> str:
    """
    What is wrong with the field at this location of pydantic's error, and what there is instead.

    Args:
        location: The first part is ``body`` or ``query``.
    """
    document: Schema = request.app.openapi()
    operation = document["paths"][request.scope["route"].path_format][request.method.lower()]
    source, *path, name = location
    if source == "query":
        known = {one["name"] for one in operation["parameters"] if one["in"] == "query"}
    else:
        schemas = [operation["requestBody"]["content"]["application/json"]["schema"]]
        for part in path:
            schemas = [below for one in _flat(document, schemas) for below in _below(one, part)]
        known = {field for one in _flat(document, schemas) for field in one.get("properties", ())}
    return f"unknown field; {instead_of(str(name), known)}"


def _flat(document: Schema, schemas: Iterable[Schema]) -> Iterator[Schema]:
    """The schemas with references and alternatives followed."""
    for one in schemas:
        if "$ref" in one:
            yield from _flat(document, [document["components"]["schemas"][one["$ref"].rpartition("/")[2]]])
        elif "anyOf" in one:
            yield from _flat(document, one["anyOf"])
        else:
            yield one


def _below(schema: Schema, part: str | int) -> list[Schema]:
    """The schema of a field or of the items of an array; none where there is no such thing."""
    found = schema.get("items") if isinstance(part, int) else schema.get("properties", {}).get(part)
    return [found] if found else []
