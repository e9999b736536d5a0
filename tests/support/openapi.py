"""``python -m tests.support.openapi`` writes the OpenAPI document that the API serves to docs/openapi.json."""

import json
from pathlib import Path

from pydantic import SecretStr

from notify.api.app import build_app, context_of
from notify.settings import Settings

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
NOWHERE = SecretStr("postgresql://nobody@127.0.0.1:1/nothing")


def served() -> str:
    """The document as text. Needs no database."""
    document = build_app(context_of(Settings(database_url=NOWHERE))).openapi()
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    COMMITTED.write_text(served(), encoding="utf-8")
