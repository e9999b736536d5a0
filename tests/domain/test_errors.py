"""The messages of errors."""

import pickle

import pytest

from notify.domain.errors import InvalidSettings, MalformedEvent, NotifyError, RelayUnavailable


class TwoParagraphs(NotifyError):
    """
    The first paragraph
    is the message.

    The second is for those who read the code.
    """


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RelayUnavailable(), "The relay refused to open a session; no email was affected."),
        (
            RelayUnavailable(relay="mx:25", code=421),
            "The relay refused to open a session; no email was affected. (relay: mx:25, code: 421)",
        ),
        (TwoParagraphs(), "The first paragraph is the message."),
        (InvalidSettings("one", "two"), "one\ntwo"),
    ],
)
def test_an_error_says_its_first_paragraph_and_its_facts(error: NotifyError, words: str) -> None:
    assert str(error) == words


@pytest.mark.parametrize("index", [None, 0, 7])
def test_a_malformed_event_says_which_field_is_wrong(index: int | None) -> None:
    error = MalformedEvent(field="cl.link", reason="expected text", index=index)
    assert (error.field, error.reason, error.index) == ("cl.link", "expected text", index)
    assert error.facts["field"] == "cl.link"
    assert error.facts.get("index") == index


def test_a_malformed_event_survives_being_pickled_by_celery() -> None:
    error = MalformedEvent(field="cl.link", reason="expected one line", index=3)

    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert (type(copy), copy.field, copy.reason, copy.index) == (MalformedEvent, "cl.link", "expected one line", 3)
