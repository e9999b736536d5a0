"""Packages with an event type of their own, as an installer leaves them in a folder."""

import sys
from pathlib import Path

import pytest

MODULE = """
from datetime import timedelta
from pathlib import Path
import notify

def audience(event, involved):
    return [notify.AudienceMember("ann", notify.Reason.OWNER)]

def stated(**changes):
    facts = {{
        "code": "acme.build.failed", "category": "Builds", "description": "It fails.", "audience": audience,
        "templates": Path(__file__).parent / "{name}-templates",
    }}
    return notify.CustomEventType(**(facts | changes))

ONE = {stated}
"""


class Packages:
    """Installs into a folder that this process finds packages in."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        monkeypatch.syspath_prepend(str(folder))

    def install(self, stated: str = "stated()", *, name: str = "acme", code: str = "acme.build.failed") -> Path:
        """A package whose entry point names what this expression makes; its folder of templates."""
        self._monkeypatch.delitem(sys.modules, name, raising=False)
        (self._folder / f"{name}.py").write_text(MODULE.format(stated=stated, name=name))
        info = self._folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[notify.event_types]\none = {name}:ONE\n")
        templates = self._folder / f"{name}-templates"
        (templates / "email" / code).mkdir(parents=True)
        for part in ("subject.txt", "body.txt", "body.html"):
            (templates / "email" / code / part).write_text("")
        return templates
