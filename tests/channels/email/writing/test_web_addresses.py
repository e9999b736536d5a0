"""A link that a door accepts is a link in the email, and no other is."""

from html import escape
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis.strategies import from_regex, one_of, text
from pydantic import TypeAdapter, ValidationError

from notify.api.directory import ChangeListFacts
from notify.channels.email.writing.facts import shrinking_limits, web_address
from notify.domain.grammar import WEB_ADDRESS
from notify.intake.schema import ChangeIn, ChangeListIn, CommentIn, ReviewIn, WebAddress

DOOR = TypeAdapter[str](WebAddress)
LIMITS = next(shrinking_limits(1))


def taken(url: str) -> bool:
    try:
        DOOR.validate_python(url)
    except ValidationError:
        return False
    return True


@given(one_of(text(), from_regex(WEB_ADDRESS, fullmatch=True), from_regex(r"https?://[\s\S]*", fullmatch=True)))
@example("HTTPS://review.example/CL-1")
@example('https://review.example/"')
@example("https://review.example/<")
@example("https://")
@example("https://review.example/" + "&" * 1_900)
@example("https://review.example/CL-1\u2028")
def test_exactly_the_accepted_links_are_links_in_the_email(url: str) -> None:
    shown = web_address(url, limits=LIMITS)
    if taken(url):
        assert shown == url
        assert escape(url, quote=True).count('"') == 0
    elif len(url) <= 2_000 and url.isprintable():
        assert shown is None


@pytest.mark.parametrize("shape", [ChangeListIn, CommentIn, ReviewIn, ChangeIn, ChangeListFacts])
def test_every_door_uses_the_same_grammar_for_links(shape: Any) -> None:
    needed = {"link": "CL-1", "id": "1", "body": "Why?", "state": "open" if shape is ChangeListFacts else "approved"}
    given_ = {name: needed[name] for name in needed.keys() & shape.model_fields.keys()}

    shape.model_validate(given_ | {"url": "https://review.example/CL-1"})
    with pytest.raises(ValidationError, match="url"):
        shape.model_validate(given_ | {"url": 'https://review.example/"CL-1"'})
