"""Reads ``NOTIFY`` in Django's settings: notify's own settings, without their prefix, and DATABASE_ALIAS."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS

from notify import wiring
from notify.domain.errors import InvalidSettings
from notify.domain.ports import Doorbell
from notify.domain.similar_names import instead_of
from notify.settings import PREFIX, VARIABLES, load

ALIAS = "DATABASE_ALIAS"
KEYS = frozenset({ALIAS, *(variable.removeprefix(PREFIX) for variable in VARIABLES)})


def variables() -> dict[str, str]:
    """
    What NOTIFY says, as environment variables.

    Raises:
        ImproperlyConfigured: Names the key and what was expected.
    """
    given = _given()
    for key in given:
        if key not in KEYS:
            plain = str(key).upper().removeprefix(PREFIX)
            message = f"NOTIFY[{key!r}] in Django's settings is not a setting; {instead_of(plain, KEYS)}"
            raise ImproperlyConfigured(message)
    found = {PREFIX + key: _text(key, value) for key, value in given.items() if key != ALIAS and value is not None}
    try:
        load(env_file=None, environment=found, completed_later=True)
    except InvalidSettings as error:
        message = f"NOTIFY in Django's settings: {error}"
        raise ImproperlyConfigured(message) from None
    return found


def environment() -> dict[str, str]:
    """The variables of this process, and what NOTIFY says where there is none."""
    return variables() | os.environ


def database_alias() -> str:
    """The alias in DATABASES of the database with the schema ``notify``."""
    return str(_given().get(ALIAS, DEFAULT_DB_ALIAS))


@cache
def process_doorbell() -> Doorbell:
    """The doorbell of this process; as ``wiring.process_doorbell``, invalid settings only disable it."""
    return wiring.application_doorbell(environment())


def _given() -> Mapping[str, object]:
    given = getattr(settings, "NOTIFY", {})
    if not isinstance(given, Mapping):
        message = f"NOTIFY in Django's settings is a {type(given).__name__}; expected a dict of settings"
        raise ImproperlyConfigured(message)
    return given


def _text(key: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float | Path):
        return str(value)
    message = f"NOTIFY[{key!r}] in Django's settings is a {type(value).__name__}; expected text, a number or a bool"
    raise ImproperlyConfigured(message)
