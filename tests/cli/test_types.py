"""``notify types``: event types as operators see and change them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from notify.cli.types import NoSuchEventType, NothingToChange
from notify.entry_points import custom_event_types
from tests.cli.conftest import Notify
from tests.support.event_type_package import Packages


def stored(notify: Notify, code: str = "cl.updated") -> dict[str, object]:
    return next(one for one in notify("types", "list", "--json").json if one["code"] == code)


def test_types_are_listed_and_changed(notify: Notify) -> None:
    before = stored(notify)
    said = notify(
        *("types", "set", "cl.updated", "--no-default-enabled", "--system-required", "--bundle-seconds", "0"),
        *("--expires-after-seconds", "3600", "--json"),
    )
    assert said.code == 0
    changed = {
        "default_enabled": False,
        "system_required": True,
        "bundle_seconds": 0,
        "expires_after_seconds": 3600,
    }
    assert said.json == stored(notify) == before | changed
    notify("types", "set", "cl.updated", "--bundle-seconds", "default")
    assert stored(notify) == before | changed | {"bundle_seconds": None}
    assert all(word in notify("types", "list").output for word in ("cl.updated", "1:00:00", "0:10:00"))


@pytest.mark.parametrize("given", ["-1", "86401", "ten", "١"])
def test_a_wrong_window_is_refused(notify: Notify, given: str) -> None:
    before = stored(notify)
    assert notify("types", "set", "cl.updated", "--bundle-seconds", given).code == 2
    assert stored(notify) == before


def test_an_unknown_type_or_nothing_to_change_is_refused(notify: Notify) -> None:
    unknown = notify("types", "set", "cl.update", "--system-required").error
    assert isinstance(unknown, NoSuchEventType)
    assert "cl.updated" in str(unknown)
    assert isinstance(notify("types", "set", "cl.updated").error, NothingToChange)


def test_without_packages_there_is_nothing_to_store(notify: Notify) -> None:
    assert notify("types", "sync", "--json").json == {"stored": []}
    assert "nothing" in notify("types", "sync").output


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    """Packages that this process finds, and forgets at the end."""
    custom_event_types.cache_clear()
    yield Packages(tmp_path, monkeypatch)
    custom_event_types.cache_clear()


def test_the_doctor_names_what_cannot_be_used_of_a_package_and_what_is_to_be_stored(
    notify: Notify, packages: Packages
) -> None:
    packages.install("stated(category='')")
    templates = packages.install("stated(code='other.kind')", name="other", code="other.kind")
    broken = templates / "locale" / "de" / "LC_MESSAGES" / "notify.po"
    broken.parent.mkdir(parents=True)
    broken.write_text("msgid")

    said = {one["about"]: (one["ok"], one["found"]) for one in notify("doctor", "--json").json}

    assert said["event type one"][0] is False
    assert "acme: category" in said["event type one"][1]
    assert said["event type other.kind"][0] is False
    assert str(broken) in said["translations of other.kind"][1]
    assert said["template cl.merged"][0]
    assert notify("types", "sync", "--json").json == {"stored": ["other.kind"]}
    assert {one["about"]: one["ok"] for one in notify("doctor", "--json").json}["event type other.kind"]
