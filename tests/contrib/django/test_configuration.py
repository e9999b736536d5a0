"""NOTIFY in Django's settings is notify's configuration, and a wrong one stops the start with its name."""

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from notify.contrib.django.configuration import database_alias, environment, variables

pytestmark = pytest.mark.usefixtures("configured")


def test_settings_have_the_names_of_the_variables_without_their_prefix() -> None:
    given = {"BROKER_URL": "redis://127.0.0.1/0", "SWEEP_SECONDS": 5, "DATA_DIR": Path("/srv/notify"), "SMTP_URL": None}
    with override_settings(NOTIFY=given):
        assert variables() == {
            "NOTIFY_BROKER_URL": "redis://127.0.0.1/0",
            "NOTIFY_SWEEP_SECONDS": "5",
            "NOTIFY_DATA_DIR": "/srv/notify",
        }


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SWEEP_SECONDS", "7")
    with override_settings(NOTIFY={"SWEEP_SECONDS": 5, "LEASE_SECONDS": 60}):
        found = environment()
    assert (found["NOTIFY_SWEEP_SECONDS"], found["NOTIFY_LEASE_SECONDS"]) == ("7", "60")


def test_the_database_is_djangos_default_unless_another_alias_is_named() -> None:
    with override_settings(NOTIFY={}):
        assert database_alias() == "default"
    with override_settings(NOTIFY={"DATABASE_ALIAS": "other"}):
        assert (database_alias(), variables()) == ("other", {})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"BROKER_URI": "redis://x"}, r"'BROKER_URI'.*BROKER_URL"),
        ({"NOTIFY_BROKER_URL": "redis://x"}, r"'NOTIFY_BROKER_URL'.*BROKER_URL"),
        ({"broker_url": "redis://x"}, r"'broker_url'.*BROKER_URL"),
        ({"SWEEP_SECONDS": "soon"}, "SWEEP_SECONDS"),
        ({"SWEEP_SECONDS": [5]}, r"'SWEEP_SECONDS'.*list.*expected text"),
        ("redis://x", r"NOTIFY.*str.*expected a dict"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(given: Any, named: str) -> None:
    with override_settings(NOTIFY=given), pytest.raises(ImproperlyConfigured, match=named):
        variables()
