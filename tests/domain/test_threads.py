"""Message-IDs that tell emails apart and keep threads together."""

from base64 import b64decode
from re import compile as pattern
from string import ascii_letters

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from notify.domain.threads import message_id, root_id, thread_index

HOST = "review.example"
# Source: RFC 5322 §3.2.3, dot-atom-text.
ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
DOT_ATOMS = pattern(rf"{ATEXT}(\.{ATEXT})*@{ATEXT}(\.{ATEXT})*")

# Names that naive joining would confuse: dots, the hash's mark, and what hashes look like.
tricky = st.text(alphabet="ab.=-r1", min_size=1, max_size=8)
names = st.one_of(tricky, st.text(min_size=1, max_size=80).filter(lambda name: name.isprintable()))
emails = st.tuples(names, names, names, st.integers(min_value=0, max_value=30))


def id_of(email: tuple[str, str, str, int]) -> str:
    link, key, username, replay = email
    return message_id(link, event_key=key, username=username, host=HOST, replay=replay)


@settings(deadline=None, derandomize=True)
@given(emails)
def test_a_message_id_is_ascii_and_well_formed_whatever_the_names(email: tuple[str, str, str, int]) -> None:
    assert DOT_ATOMS.fullmatch(id_of(email))
    assert DOT_ATOMS.fullmatch(root_id(email[0], host=HOST))
    assert len(id_of(email)) < 250


@settings(deadline=None, derandomize=True)
@given(emails, emails)
@example(("a.b", "c", "u", 0), ("a", "b.c", "u", 0))
@example(("a", "b", "u", 1), ("a", "b.r1", "u", 0))
@example(("CL-1", "K", "u", 0), ("CL-1", "k", "u", 0))
def test_two_emails_never_share_a_message_id(one: tuple[str, str, str, int], other: tuple[str, str, str, int]) -> None:
    assert (id_of(one) == id_of(other)) == (one == other)


@settings(deadline=None, derandomize=True)
@given(names, names)
def test_two_change_lists_never_share_a_thread(one: str, other: str) -> None:
    assert (root_id(one, host=HOST) == root_id(other, host=HOST)) == (one == other)
    assert (thread_index(one) == thread_index(other)) == (one == other)


@settings(deadline=None, derandomize=True)
@given(emails)
def test_no_email_has_the_id_of_its_threads_root(email: tuple[str, str, str, int]) -> None:
    assert id_of(email) != root_id(email[0], host=HOST)


@pytest.mark.parametrize("name", ["=deadbeef", "a=b", "a.b", "a b", "é", "a" * 65])
def test_a_name_that_is_not_plain_is_hashed(name: str) -> None:
    shown = root_id(name, host=HOST).removeprefix("cl.").removesuffix(f"@{HOST}")
    assert name not in shown
    assert shown.startswith("=")


def test_message_ids_never_change_between_releases() -> None:
    """A changed id would send every pending email a second time, under another name."""
    plain = message_id("CL-4821", event_key="comment-8731", username="alice", host=HOST)
    assert plain == "cl.CL-4821.comment-8731.2bd806c97f0e@review.example"
    hashed = message_id("org/repo!7", event_key="k.1", username="alice", host=HOST, replay=2)
    assert hashed == "cl.=1775c885d34371a1c0a4dacd.=7018839bf3cc0a33e678f125.2bd806c97f0e.r2@review.example"
    assert root_id("CL-4821", host=HOST) == "cl.CL-4821@review.example"


@settings(deadline=None, derandomize=True)
@given(st.text(alphabet=ascii_letters, min_size=1))
def test_the_thread_index_is_twenty_two_bytes_that_begin_with_one(link: str) -> None:
    index = b64decode(thread_index(link), validate=True)
    assert (len(index), index[0]) == (22, 1)


def test_the_thread_index_never_changes_between_releases() -> None:
    assert thread_index("CL-4821") == "AVxK6rHbbKM0BQW/lqMyQhgNUcU2PA=="
