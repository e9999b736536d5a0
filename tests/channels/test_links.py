"""Links in emails do what they say, for whom they say, and cannot be forged."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notify.channels.links import ForgedLink, Scope, SignedLinks, Unsubscribe

LINKS = SignedLinks(secrets=["k" * 32], public_url="https://notify.example")
NAME = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=150)


def token(url: str) -> str:
    return url.rpartition("/")[2]


@given(username=NAME, code=NAME, topic=NAME)
@example(username="a.b", code="cl.comment.created", topic="team/x.y.z")
def test_every_username_survives_a_round_trip(username: str, code: str, topic: str) -> None:
    stop, mute = LINKS.stop_event_type(username, code, beside=topic), LINKS.mute_change_list(username, topic)
    assert LINKS.read_unsubscribe(token(stop)) == Unsubscribe(username, Scope.EVENT_TYPE, code, topic)
    assert LINKS.read_unsubscribe(token(mute)) == Unsubscribe(username, Scope.CHANGE_LIST, topic=topic)
    assert LINKS.read_unsubscribe(token(LINKS.stop_everything(username))) == Unsubscribe(username, Scope.EVERYTHING)
    assert LINKS.read_preferences(token(LINKS.preferences(username))) == username


def test_changing_the_suffix_of_a_link_cannot_widen_it() -> None:
    for url in (
        LINKS.stop_event_type("alice", "cl.merged", beside="CL-1"),
        LINKS.stop_event_type("alice", "cl.merged"),
        LINKS.mute_change_list("alice", "CL-1"),
        LINKS.stop_everything("alice"),
    ):
        reached = LINKS.read_unsubscribe(token(url)).targets
        for suffix in "tcaxT.":
            try:
                changed = LINKS.read_unsubscribe(token(url)[:-1] + suffix)
            except ForgedLink:
                continue
            assert changed.username == "alice"
            assert changed.targets.items() <= reached.items()


@pytest.mark.parametrize("url", [LINKS.mute_change_list("alice", "CL-1"), LINKS.preferences("alice")])
def test_a_link_with_any_changed_character_is_invalid(url: str) -> None:
    whole = token(url)
    read = LINKS.read_unsubscribe if "unsubscribe" in url else LINKS.read_preferences
    for at, character in enumerate(whole):
        other = "B" if character != "B" else "C"
        for forged in (
            whole[:at] + other + whole[at + 1 :],
            whole[:at] + whole[at + 1 :],
            whole[:at] + "." + whole[at:],
        ):
            with pytest.raises(ForgedLink):
                read(forged)


def test_no_link_opens_a_page_of_another_kind() -> None:
    stop, preferences = token(LINKS.stop_everything("alice")), token(LINKS.preferences("alice"))
    for forged in (stop, stop[:-2], stop.rpartition(".")[0]):
        with pytest.raises(ForgedLink):
            LINKS.read_preferences(forged)
    name, _, seal = preferences.partition(".")
    for forged in (f"{name}...{seal}.a", f"{preferences}.a"):
        with pytest.raises(ForgedLink):
            LINKS.read_unsubscribe(forged)
