"""Event types of other packages: found by their entry points, or left out with a reason that names the package."""

import sys
from collections.abc import Callable
from logging import ERROR
from pathlib import Path

import pytest

from notify.entry_points import EntryPoints, custom_event_types

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
Package = Callable[..., None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Install a package whose entry point names what this expression makes."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(stated: str = "stated()", *, name: str = "acme", code: str = "acme.build.failed") -> None:
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(MODULE.format(stated=stated, name=name))
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[notify.event_types]\none = {name}:ONE\n")
        folder = tmp_path / f"{name}-templates" / "email" / code
        folder.mkdir(parents=True)
        for part in ("subject.txt", "body.txt", "body.html"):
            (folder / part).write_text("")

    return install


def loaded() -> EntryPoints:
    """What a process that begins now finds."""
    custom_event_types.cache_clear()
    try:
        return custom_event_types()
    finally:
        custom_event_types.cache_clear()


def test_an_installed_event_type_is_found_by_its_code(package: Package) -> None:
    package()
    package("stated(code='other.kind')", name="other", code="other.kind")
    found = loaded()
    assert (sorted(found.types), found.refused) == (["acme.build.failed", "other.kind"], ())


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("audience", "notify.CustomEventType, found function"),
        ("stated(code='failed')", "lower-case words with dots"),
        ("stated(code='Acme.Failed')", "lower-case words with dots"),
        ("stated(code='cl.failed')", "notify's own"),
        ("stated(code='queue.acme.failed')", "notify's own"),
        ("stated(category='')", "category"),
        (r"stated(description='two\nlines')", "description"),
        ("stated(audience=None)", "audience"),
        ("stated(templates='templates')", "Path"),
        ("stated(expires_after=timedelta(0))", "expires_after"),
        ("stated(expires_after=72)", "cannot be loaded: TypeError"),
        ("stated(bundle_within=timedelta(days=2))", "bundle_within"),
        ("stated(templates=Path('/nowhere'))", "/nowhere/email/acme.build.failed lacks subject.txt, body.txt"),
    ],
)
def test_an_event_type_that_cannot_be_used_is_left_out_and_logged_and_the_others_are_not(
    package: Package, caplog: pytest.LogCaptureFixture, stated: str, why: str
) -> None:
    package(stated)
    package("stated(code='other.kind')", name="other", code="other.kind")
    with caplog.at_level(ERROR):
        found = loaded()
    assert list(found.types) == ["other.kind"]
    (refused,) = found.refused
    assert (refused.name, refused.distribution) == ("one", "acme")
    assert why in refused.why
    assert "acme" in caplog.text
    assert refused.why in caplog.text


def test_of_two_packages_that_state_one_code_neither_is_used_and_both_are_named(package: Package) -> None:
    package()
    package(name="other")
    found = loaded()
    assert not found.types
    assert [one.distribution for one in found.refused] == ["acme", "other"]
    assert all("acme, other" in one.why for one in found.refused)
