"""The few things that values of the domain answer about themselves."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from notify.domain.preferences import Person
from tests.support.letters import letter


@pytest.mark.parametrize(("display_name", "name"), [("Dana Reyes", "Dana Reyes"), (None, "dana"), ("", "dana")])
def test_a_person_without_a_display_name_is_called_by_the_username(display_name: str | None, name: str) -> None:
    assert Person(username="dana", display_name=display_name).name == name


@pytest.mark.parametrize(
    ("payload", "comment"),
    [({"comment": {"body": "Why?"}}, {"body": "Why?"}), ({}, {}), ({"comment": None}, {})],
)
def test_a_letter_about_an_event_without_a_comment_has_an_empty_one(
    payload: Mapping[str, Any], comment: Mapping[str, Any]
) -> None:
    sample = letter()
    assert replace(sample, event=replace(sample.event, payload=payload)).comment == comment
