"""Methods of domain values."""

import pytest

from notify.domain.preferences import Person


@pytest.mark.parametrize(("display_name", "name"), [("Dana Reyes", "Dana Reyes"), (None, "dana"), ("", "dana")])
def test_a_person_without_a_display_name_is_called_by_the_username(display_name: str | None, name: str) -> None:
    assert Person(username="dana", display_name=display_name).name == name
