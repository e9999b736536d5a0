"""The application as a server starts it, from settings alone."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from notify.api.app import context_of
from notify.channels.links import SignedLinks
from notify.http.person_tokens import BadToken, issue_user_token
from notify.settings import Settings
from tests.support.api_server import TIMEOUT_SECONDS, served
from tests.support.callers import JWT_SECRET

NOWHERE = SecretStr("postgresql://nobody@127.0.0.1:1/nothing")


def test_a_served_application_answers_and_keeps_names_and_keys_out_of_its_log(
    environment: dict[str, str], tmp_path: Path
) -> None:
    links = SignedLinks(secrets=[environment["NOTIFY_SECRET_KEYS"]], public_url="")
    log = tmp_path / "log"
    with served(environment, log) as url, httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as api:
        ready = api.get("/readyz")
        page = api.get(links.preferences("dana"))
        person = api.get("/api/v1/people/dana")

    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert (page.status_code, person.status_code) == (200, 401)
    logged = log.read_text()
    assert "/preferences/{token}" in logged
    assert links.preferences("dana") not in logged
    assert "people/dana" not in logged


def test_published_keys_replace_a_shared_secret() -> None:
    token = issue_user_token(JWT_SECRET, "dana", ttl=timedelta(hours=1))
    settings = Settings(database_url=NOWHERE, jwt_secret=SecretStr(JWT_SECRET))
    by_secret = context_of(settings).people
    by_keys = context_of(settings.model_copy(update={"jwks_url": "http://127.0.0.1:1/keys"})).people

    assert by_secret is not None
    assert by_secret.username(token) == "dana"
    assert by_keys is not None
    with pytest.raises(BadToken):
        by_keys.username(token)


def test_missing_configuration_disables_its_part_and_readiness_names_missing_mail() -> None:
    context = context_of(Settings(database_url=NOWHERE))

    assert (context.people, context.links) == (None, None)
    assert context.no_mail is not None
