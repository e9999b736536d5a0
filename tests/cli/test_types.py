"""``notify types``: event types as operators see and change them."""

import pytest

from notify.cli.types import NoSuchEventType, NothingToChange
from tests.cli.conftest import Notify


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
