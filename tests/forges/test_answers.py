"""What an answer means, row by row of the table in FORGES §5.4."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notify.domain.forge_answers import (
    AnswerMeaning,
    Applied,
    CredentialsExpired,
    Misconfigured,
    MissingCommit,
    Moved,
    RateLimited,
    Refused,
    Unavailable,
    Unchanged,
)
from notify.forges.answers import Credential, meaning

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
DATE = "Mon, 02 Nov 2026 08:00:00 GMT"
FAR_OFF = f"Mon, 02 Nov 2026 08:01:00 +{'9' * 20}"
RESET = str(int(datetime(2026, 11, 2, 8, 10, tzinfo=UTC).timestamp()))
INSTALLATION, APP, FIXED = Credential.INSTALLATION, Credential.APP, Credential.FIXED


def of(
    status: int, message: Any = None, *, credential: Credential = INSTALLATION, about: bool = False, **headers: str
) -> AnswerMeaning:
    body = message if isinstance(message, bytes) else json.dumps({"message": message}).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return meaning(status, names, body, credential=credential, about_installation=about, now=NOW)


SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
ROWS: list[tuple[str, AnswerMeaning, AnswerMeaning]] = [
    ("ok", of(200), Applied()),
    ("created", of(201), Applied()),
    ("accepted", of(202), Applied()),
    ("no content", of(204, b""), Applied()),
    ("not modified", of(304, b""), Unchanged()),
    ("401 of an installation", of(401, "Bad credentials"), CredentialsExpired(words="Bad credentials")),
    (
        "401 of a fixed token",
        of(401, "Bad credentials", credential=FIXED),
        Misconfigured(reason="token_refused", words="Bad credentials"),
    ),
    (
        "401 of the app",
        of(401, "'Expiration time' claim ('exp') is too far in the future", credential=APP),
        Misconfigured(reason="app_refused", words="'Expiration time' claim ('exp') is too far in the future"),
    ),
    ("403 of the app", of(403, "Suspended", credential=APP), Misconfigured(reason="app_refused", words="Suspended")),
    (
        "403 of the app, by a limit",
        of(403, "x", credential=APP, retry_after="9"),
        RateLimited(wait=timedelta(seconds=9), words="x"),
    ),
    ("403 with retry-after", of(403, "x", retry_after="60"), RateLimited(wait=timedelta(seconds=60), words="x")),
    ("429 with retry-after", of(429, "x", retry_after="60"), RateLimited(wait=timedelta(seconds=60), words="x")),
    (
        "retry-after at an instant, by the forge's clock",
        of(429, "x", retry_after="Mon, 02 Nov 2026 08:01:00 GMT", date=DATE),
        RateLimited(wait=timedelta(seconds=60), words="x"),
    ),
    (
        "nothing remains, by the forge's clock",
        of(403, "x", x_ratelimit_remaining="0", x_ratelimit_reset=RESET, date=DATE),
        RateLimited(wait=timedelta(minutes=10), words="x"),
    ),
    (
        "nothing remains, and the reset is past",
        of(403, "x", x_ratelimit_remaining="0", x_ratelimit_reset=RESET),
        RateLimited(wait=timedelta(0), words="x"),
    ),
    ("nothing remains, no reset", of(403, "x", x_ratelimit_remaining="0"), RateLimited(wait=None, words="x")),
    ("retry-after is garbled", of(429, "x", retry_after="soon"), RateLimited(wait=None, words="x")),
    ("retry-after is negative", of(429, "x", retry_after="-5"), RateLimited(wait=None, words="x")),
    ("retry-after is a year", of(429, "x", retry_after="31536000"), RateLimited(wait=timedelta(hours=2), words="x")),
    ("retry-after has 20 digits", of(429, "x", retry_after="9" * 20), RateLimited(wait=None, words="x")),
    (
        "retry-after and date are far from any instant",
        of(429, "x", retry_after=FAR_OFF, date=FAR_OFF),
        RateLimited(wait=None, words="x"),
    ),
    (
        "the forge's clock is at the end of time",
        of(429, "x", retry_after="60", date="Fri, 31 Dec 9999 23:59:59 GMT"),
        RateLimited(wait=timedelta(seconds=60), words="x"),
    ),
    ("429 without any time", of(429, "slow down"), RateLimited(wait=None, words="slow down")),
    ("the secondary limit by its words", of(403, SECONDARY), RateLimited(wait=None, words=SECONDARY)),
    (
        "some remain, so it is forbidden",
        of(403, "Resource not accessible by integration", x_ratelimit_remaining="42"),
        Refused(reason="forbidden", words="Resource not accessible by integration"),
    ),
    ("404 of the repository", of(404, "Not Found"), Refused(reason="gone", words="Not Found")),
    ("410 of the repository", of(410, "Gone"), Refused(reason="gone", words="Gone")),
    (
        "404 of the installation",
        of(404, "Not Found", credential=APP, about=True),
        Refused(reason="not_installed", words="Not Found"),
    ),
    (
        "404 of the exchange of an installation that is gone",
        of(404, "Integration not found", credential=APP, about=True),
        Refused(reason="not_installed", words="Integration not found"),
    ),
    (
        "410 of the installation",
        of(410, "Gone", credential=APP, about=True),
        Refused(reason="not_installed", words="Gone"),
    ),
    (
        "403 of the exchange of an installation that is suspended",
        of(403, "This installation has been suspended", credential=APP, about=True),
        Refused(reason="suspended", words="This installation has been suspended"),
    ),
    (
        "404 of a repository for a fixed token",
        of(404, "Not Found", credential=FIXED),
        Refused(reason="gone", words="Not Found"),
    ),
    (
        "422 without the commit",
        of(422, f"No commit found for SHA: {'a' * 40}"),
        MissingCommit(words=f"No commit found for SHA: {'a' * 40}"),
    ),
    (
        "422 with its errors",
        of(
            422,
            json.dumps(
                {
                    "message": "Validation Failed",
                    "errors": [{"field": "state", "code": "invalid"}, {"message": "bad\nsha"}, "text"],
                }
            ).encode(),
        ),
        Refused(reason="invalid", words="Validation Failed; state invalid; bad sha; text"),
    ),
    (
        "422 without the commit, in the errors",
        of(
            422,
            json.dumps({"message": "Validation Failed", "errors": [{"message": "No commit found for SHA"}]}).encode(),
        ),
        MissingCommit(words="Validation Failed; No commit found for SHA"),
    ),
    ("422 of the app", of(422, "no", credential=APP, about=True), Refused(reason="invalid", words="no")),
    ("422 of Gitea", of(422, "index does not exist"), Refused(reason="invalid", words="index does not exist")),
    ("200 when nothing remains", of(200, x_ratelimit_remaining="0"), Applied()),
    (
        "401 with retry-after is about the token",
        of(401, "Bad credentials", retry_after="60"),
        CredentialsExpired(words="Bad credentials"),
    ),
    (
        "403 of a fixed token",
        of(403, "Must have admin rights", credential=FIXED),
        Refused(reason="forbidden", words="Must have admin rights"),
    ),
    (
        "retry-after counts before the reset",
        of(403, "x", retry_after="30", x_ratelimit_remaining="0", x_ratelimit_reset=RESET),
        RateLimited(wait=timedelta(seconds=30), words="x"),
    ),
    (
        "a limit of the exchange",
        of(403, "x", credential=APP, about=True, x_ratelimit_remaining="0", x_ratelimit_reset=RESET, date=DATE),
        RateLimited(wait=timedelta(minutes=10), words="x"),
    ),
    ("503 with retry-after", of(503, "Down", retry_after="60"), Unavailable(reason="server_error", words="Down")),
    ("500", of(500, b"<html>"), Unavailable(reason="server_error")),
    ("502", of(502, "Server Error"), Unavailable(reason="server_error", words="Server Error")),
    ("408", of(408), Unavailable(reason="server_error")),
    ("301", of(301, location="/repositories/7"), Moved(location="/repositories/7")),
    ("307", of(307, location="/x"), Moved(location="/x")),
    ("308", of(308, location="/x"), Moved(location="/x")),
    ("301 to nowhere", of(301, "Moved"), Refused(reason="unexpected", words="Moved")),
    ("302", of(302, location="/x"), Refused(reason="unexpected")),
    ("409", of(409, "Git Repository is empty."), Refused(reason="unexpected", words="Git Repository is empty.")),
    ("418", of(418, b"["), Refused(reason="unexpected")),
    ("deep words", of(418, b"[" * 1_000_000), Refused(reason="unexpected")),
]


@pytest.mark.parametrize(("found", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_an_answer_means_what_its_row_says(found: AnswerMeaning, expected: AnswerMeaning) -> None:
    assert found == expected


NAMED = {304, 401, 403, 404, 408, 410, 422, 429}


@pytest.mark.parametrize("credential", Credential)
def test_an_answer_that_no_row_names_is_dead_and_seen(credential: Credential) -> None:
    for status in {*range(300, 500)} - NAMED:
        assert of(status, "Words", credential=credential) == Refused(reason="unexpected", words="Words"), status


@pytest.mark.parametrize("credential", Credential)
def test_a_server_that_fails_is_later(credential: Credential) -> None:
    for status in range(500, 600):
        found = of(status, "Words", credential=credential, about=credential is APP, x_ratelimit_remaining="0")
        assert found == Unavailable(reason="server_error", words="Words"), status


def test_a_forges_words_can_be_stored() -> None:
    found = of(422, json.dumps({"message": "a\x00\ud800" + "b" * 5_000}).encode())
    assert isinstance(found, Refused)
    assert found.words.encode("utf-8")
    assert "\x00" not in found.words
    assert len(found.words) <= 1_000
