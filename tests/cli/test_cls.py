"""Storing and showing a change list."""

from notify.cli.cls import InvalidChangeList, NoSuchChangeList
from tests.cli.conftest import Notify


def test_a_change_list_keeps_what_a_later_command_does_not_name(notify: Notify) -> None:
    first = notify(
        "cls", "put", "CL-9", "--author", "ann", "--reviewer", "bob", "--reviewer", "cy", "--title", "Cap it"
    )
    assert first.code == 0
    stored = notify("cls", "put", "CL-9", "--reviewer", "dana", "--state", "merged", "--json").json
    shown = notify("cls", "show", "CL-9", "--json").json
    assert shown == stored
    assert {name: shown[name] for name in ("author", "reviewers", "title", "state")} == {
        "author": "ann",
        "reviewers": ["dana"],
        "title": "Cap it",
        "state": "merged",
    }
    assert notify("cls", "put", "CL-9", "--author", "eve", "--json").json["state"] == "merged"


def test_what_no_event_may_say_is_refused_and_nothing_is_stored(notify: Notify) -> None:
    refused = notify("cls", "put", "CL-9", "--author", "a\nb", "--url", "ftp://x")
    assert isinstance(refused.error, InvalidChangeList)
    assert set(refused.error.facts) == {"author", "url"}
    assert isinstance(notify("cls", "show", "CL-9").error, NoSuchChangeList)
