"""Event types of other packages: found by their entry points, or left out with a reason that names the package."""

from pathlib import Path
from subprocess import run
from sys import executable

import pytest

from notify.entry_points import EntryPoints, custom_event_types
from tests.support.event_type_package import Packages

ROOT = Path(__file__).parents[1]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packages:
    return Packages(tmp_path, monkeypatch)


def loaded() -> EntryPoints:
    """What a process that begins now finds."""
    custom_event_types.cache_clear()
    try:
        return custom_event_types()
    finally:
        custom_event_types.cache_clear()


def test_an_installed_event_type_is_found_by_its_code(packages: Packages) -> None:
    packages.install()
    packages.install("stated(code='other.kind')", name="other", code="other.kind")
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
def test_an_event_type_that_cannot_be_used_is_left_out_and_the_others_are_not(
    packages: Packages, stated: str, why: str
) -> None:
    packages.install(stated)
    packages.install("stated(code='other.kind')", name="other", code="other.kind")
    found = loaded()
    assert list(found.types) == ["other.kind"]
    (refused,) = found.refused
    assert (refused.name, refused.distribution) == ("one", "acme")
    assert why in refused.why


def test_a_process_logs_which_event_type_it_leaves_out(packages: Packages, tmp_path: Path) -> None:
    packages.install("1 / 0")
    code = "from notify.entry_points import custom_event_types; custom_event_types()"
    ended = run([executable, "-c", code], env={"PYTHONPATH": f"{ROOT}:{tmp_path}"}, capture_output=True, check=True)
    assert b"event type one of acme is left out: acme:ONE cannot be loaded: ZeroDivisionError" in ended.stderr


def test_of_two_packages_that_state_one_code_neither_is_used_and_both_are_named(packages: Packages) -> None:
    packages.install()
    packages.install(name="other")
    found = loaded()
    assert not found.types
    assert [one.distribution for one in found.refused] == ["acme", "other"]
    assert all("acme, other" in one.why for one in found.refused)
