"""Stopping emails from the email: pending ones are skipped, and link scanners change nothing."""

from collections.abc import Iterator
from re import findall

import httpx
import pytest

from notify.api.app import build_app, context_of
from notify.channels.links import SignedLinks
from notify.domain.events import COMMENT_CREATED
from notify.domain.preferences import NO_PREFERENCES
from notify.store.database import Database
from notify.store.directory import preferences
from tests.support.harness import WorkerHarness
from tests.support.in_process import InProcess
from tests.support.messages import parsed
from tests.support.smtp import ScriptedRelay

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    return WorkerHarness(database, relay.url)


@pytest.fixture
def api(harness: WorkerHarness) -> Iterator[httpx.Client]:
    """A client without credentials, like mail providers and readers, who have only the link."""
    context = context_of(harness.settings)
    with httpx.Client(transport=InProcess(build_app(context)), base_url="https://notify.example.com") as client:
        yield client
    context.database.close()


def test_one_click_stops_its_scope_and_the_pending_email_is_skipped(
    harness: WorkerHarness, relay: ScriptedRelay, api: httpx.Client
) -> None:
    harness.pending_emails("ann", "ben", "cat", "dan")
    links = SignedLinks(secrets=["k" * 32], public_url="https://notify.example.com")
    for url in (
        links.stop_event_type("ann", COMMENT_CREATED, beside="CL-1"),
        links.mute_change_list("ben", "CL-1", beside=COMMENT_CREATED),
        links.stop_everything("cat"),
    ):
        answer = api.post(url, data=ONE_CLICK)
        assert (answer.status_code, answer.headers.get("Set-Cookie")) == (200, None)

    harness.drain()

    ends = {job.username: (job.status, job.outcome_reason) for job in harness.jobs()}
    assert ends == {
        "ann": ("skipped", "muted_event"),
        "ben": ("skipped", "muted_cl"),
        "cat": ("skipped", "muted_all"),
        "dan": ("sent", None),
        "somebody": ("skipped", "no_address"),
    }
    assert [email.recipient for email in relay.emails] == ["dan@example.com"]


def test_a_scanner_that_follows_every_link_of_an_email_changes_nothing(
    harness: WorkerHarness, relay: ScriptedRelay, api: httpx.Client
) -> None:
    harness.pending_emails("ann")
    harness.drain()
    (email,) = relay.emails
    message = parsed(email.content)
    parts = [part.get_content() for part in message.walk() if not part.is_multipart()]
    words = "\n".join([str(message["List-Unsubscribe"]), *map(str, parts)])
    followed = set(findall(r"https://notify\.example\.com/[^\s<>\"]+", words))
    assert len(followed) >= 3

    for url in followed:
        for method in ("GET", "HEAD", "OPTIONS"):
            api.request(method, url)

    with harness.database.begin() as connection:
        assert preferences.load(connection, ["ann"]).get("ann", NO_PREFERENCES) == NO_PREFERENCES
