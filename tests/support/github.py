"""GitHub's own descriptions of its REST API and webhooks, to hold the embedded forge against."""

from json import dumps, loads
from pathlib import Path
from typing import Any

import jsonschema_rs

DESCRIBED = loads((Path(__file__).parents[1] / "embedded" / "forge" / "github_schemas.json").read_text())["$defs"]


def faults(name: str, shape: object) -> list[str]:
    """What GitHub's description of this name finds wrong; with a * before it, of a list of at least one."""
    schema: dict[str, Any] = {"$ref": f"#/$defs/{name.removeprefix('*')}"}
    if name.startswith("*"):
        schema = {"type": "array", "minItems": 1, "items": schema}
    found = jsonschema_rs.Draft202012Validator({**schema, "$defs": DESCRIBED}).iter_errors(loads(dumps(shape)))
    return [f"{'/'.join(map(str, one.instance_path))}: {one.message.splitlines()[0][:200]}" for one in found]
