"""Webhook deliveries: which are let in, what becomes of them, and what a forge that is away changes."""

from collections.abc import Iterator
from datetime import timedelta
from json import dumps
from uuid import uuid4

import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from sqlalchemy import text

from notify.embedded.forge.rest import Answer
from notify.embedded.forge.server import EmbeddedForge
from notify.store.forges import deliveries
from tests.support.forge import REPOSITORY, ForgeHarness

PING = {"zen": "Keep it logically awesome.", "hook_id": 1, "hook": {"type": "App"}}


@pytest.fixture
def webhooks() -> Iterator[httpx.Client]:
    """A caller that is no forge."""
    with httpx.Client() as client:
        yield client


def signature(sources: ForgeHarness, body: bytes) -> str:
    """By cryptography, whose HMAC is not the one that checks it."""
    made = HMAC(sources.forge.hooks.secret.encode(), SHA256())
    made.update(body)
    return f"sha256={made.finalize().hex()}"


def headers(sources: ForgeHarness, body: bytes, *, event: str = "ping", delivery: str | None = None) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery or str(uuid4()),
        "X-Hub-Signature-256": signature(sources, body),
    }


def statuses(sources: ForgeHarness) -> list[tuple[str, str, str | None]]:
    found = sources.rows("SELECT event, status, outcome_reason FROM notify.webhook_deliveries ORDER BY id")
    return [tuple(row) for row in found]


def test_a_signed_delivery_is_stored_before_it_is_answered_and_then_done(
    sources: ForgeHarness, webhooks: httpx.Client
) -> None:
    body = dumps(PING).encode()
    answer = webhooks.post(sources.webhook_url, content=body, headers=headers(sources, body))
    assert answer.status_code == 202
    assert answer.json()["duplicate"] is False
    assert statuses(sources) == [("ping", "pending", None)]
    sources.take_webhooks()
    assert statuses(sources) == [("ping", "done", None)]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"X-Hub-Signature-256": None}, 400),
        ({"X-Hub-Signature-256": None, "X-Hub-Signature": "sha1=" + "0" * 40}, 400),
        ({"X-Hub-Signature-256": "sha256=abc"}, 400),
        ({"X-Hub-Signature-256": "sha256=" + "0" * 64}, 403),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
def test_what_is_not_signed_as_it_must_be_is_refused_and_not_stored(
    sources: ForgeHarness, webhooks: httpx.Client, change: dict[str, str | None], status: int
) -> None:
    body = dumps(PING).encode()
    sent = {**headers(sources, body), **change}
    answer = webhooks.post(
        sources.webhook_url, content=body, headers={name: value for name, value in sent.items() if value}
    )
    assert answer.status_code == status
    assert statuses(sources) == []


def test_a_signature_over_other_bytes_is_wrong(sources: ForgeHarness, webhooks: httpx.Client) -> None:
    body = dumps(PING).encode()
    assert webhooks.post(sources.webhook_url, content=body + b" ", headers=headers(sources, body)).status_code == 403


def test_only_known_forges_and_post_are_answered(sources: ForgeHarness, webhooks: httpx.Client) -> None:
    body = dumps(PING).encode()
    other = sources.webhook_url.replace("/github", "/gitlab")
    assert webhooks.post(other, content=body, headers=headers(sources, body)).status_code == 404
    assert webhooks.get(sources.webhook_url).status_code == 405


def test_a_body_that_is_too_large_is_refused(sources: ForgeHarness, webhooks: httpx.Client) -> None:
    body = b" " * (25 * 1024 * 1024 + 1)
    sent = {"Content-Type": "application/json", "X-Hub-Signature-256": "sha256=" + "0" * 64}
    assert webhooks.post(sources.webhook_url, content=body, headers=sent).status_code == 413


def test_a_repeated_id_changes_nothing_unless_the_delivery_failed_here(
    sources: ForgeHarness, webhooks: httpx.Client
) -> None:
    body = dumps(PING).encode()
    sent = headers(sources, body, delivery="d1")
    first = webhooks.post(sources.webhook_url, content=body, headers=sent).json()
    sources.take_webhooks()
    again = webhooks.post(sources.webhook_url, content=body, headers=sent)
    assert (again.status_code, again.json()) == (200, {"id": first["id"], "duplicate": True})
    sources.worker.execute("UPDATE notify.webhook_deliveries SET status = 'dead', outcome_reason = 'x'")
    assert webhooks.post(sources.webhook_url, content=body, headers=sent).status_code == 202
    assert statuses(sources) == [("ping", "pending", None)]
    sources.take_webhooks()
    assert statuses(sources) == [("ping", "done", None)]


def test_what_notify_does_not_know_is_ignored_and_what_it_cannot_read_is_dead(
    sources: ForgeHarness, webhooks: httpx.Client
) -> None:
    for event, body in (("watch", b'{"action": "started"}'), ("pull_request", b"[" * 1_000_000)):
        assert (
            webhooks.post(sources.webhook_url, content=body, headers=headers(sources, body, event=event)).status_code
            == 202
        )
    sources.take_webhooks()
    (watch, pull) = statuses(sources)
    assert watch[:2] == ("watch", "ignored")
    assert pull[:2] == ("pull_request", "dead")
    assert pull[2] is not None
    assert pull[2].startswith("unreadable")


def test_a_replay_under_a_new_id_tells_nobody_twice(
    sources: ForgeHarness, forge: EmbeddedForge, webhooks: httpx.Client
) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    forge.state.comment(REPOSITORY, 1, by="bob", body="Why?")
    sources.take_webhooks()
    told = sources.deliver()
    assert told == [("alice", "cl.comment.created", "author")]
    body = next(one.body for one in forge.hooks.deliveries if one.event == "issue_comment")
    assert (
        webhooks.post(
            sources.webhook_url, content=body, headers=headers(sources, body, event="issue_comment")
        ).status_code
        == 202
    )
    sources.take_webhooks()
    assert sources.deliver() == told


def test_a_delivery_can_be_replayed_by_hand_and_tells_nobody_twice(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    forge.state.comment(REPOSITORY, 1, by="bob", body="Why?")
    sources.take_webhooks()
    told = sources.deliver()
    with sources.worker.database.begin() as connection:
        found = list(deliveries.listed(connection, status="done"))
        assert all(deliveries.replay(connection, one.id) for one in found)
    assert sources.take_webhooks()["claimed"] == len(found) > 1
    assert sources.deliver() == told


def test_while_the_forge_does_not_answer_the_webhook_is_believed_and_the_next_sweep_mends_the_mirror(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    sources.take_webhooks()
    forge.state.comment(REPOSITORY, 1, by="bob", body="Why?")
    forge.rest.instead += [Answer(502)] * 20
    assert sources.take_webhooks()["told"] == 1
    forge.rest.instead.clear()
    stale = "SELECT stale FROM notify.forge_changes"
    assert sources.rows(stale) == [(True,)]
    sources.worker.execute("UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open'")
    sources.sweep()
    assert sources.rows(stale) == [(False,)]
    assert sources.deliver() == [("alice", "cl.comment.created", "author")]


def test_a_login_that_is_nobodys_gets_nothing_and_is_counted(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    forge.state.request_review(REPOSITORY, 1, by="alice", logins=["mallory"])
    forge.state.comment(REPOSITORY, 1, by="octocat", body="Why?")
    sources.take_webhooks()
    assert sources.deliver() == [("alice", "cl.comment.created", "author")]
    missed = sources.rows("SELECT login, missed > 0 FROM notify.unmapped_logins")
    assert missed == [("mallory", True)]
    (actor,) = sources.rows("SELECT actor FROM notify.events WHERE type = 'cl.comment.created'")
    assert actor == ("octocat (github)",)


@pytest.mark.parametrize("opener", ["alice", "mallory"])
def test_deliveries_that_are_replayed_in_turn_count_what_a_login_missed_once(
    sources: ForgeHarness, forge: EmbeddedForge, opener: str
) -> None:
    """Mallory is nobody here: events that concern others too are stored, the others are not."""
    forge.state.open_pull(REPOSITORY, by=opener, title="Change", head="b")
    forge.state.request_review(REPOSITORY, 1, by="alice", logins=["mallory"])
    for words in ("Why?", "Why not?"):
        forge.state.comment(REPOSITORY, 1, by="octocat", body=words)
    sources.take_webhooks()
    missed = "SELECT login, missed FROM notify.unmapped_logins"
    before = sources.rows(missed)
    with sources.worker.database.begin() as connection:
        for one in deliveries.listed(connection):
            deliveries.replay(connection, one.id)
    assert sources.take_webhooks()["claimed"] > 2
    assert sources.rows(missed) == before


@pytest.mark.parametrize("answers", [True, False])
def test_an_event_that_is_malformed_ends_at_once_whether_or_not_the_forge_answers(
    sources: ForgeHarness, forge: EmbeddedForge, *, answers: bool
) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    sources.take_webhooks()
    sources.clock.set(late=timedelta(days=-1))
    forge.state.comment(REPOSITORY, 1, by="bob", body="From a day that is still to come.")
    forge.rest.instead += [] if answers else [Answer(502)] * 20
    assert sources.take_webhooks()["dead"] == 1
    (comment,) = [one for one in statuses(sources) if one[0] == "issue_comment"]
    assert comment[1] == "dead"
    assert str(comment[2]).startswith("malformed")


def test_what_was_merged_stays_merged_in_the_directory_as_in_the_mirror(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    forge.state.merge(REPOSITORY, 1, by="carol")
    sources.take_webhooks()
    forge.state.repository(REPOSITORY).pulls[1].merged_at = None
    forge.state.edit_pull(REPOSITORY, 1, by="alice", title="No longer merged, says the forge")
    sources.take_webhooks()
    states = """
        SELECT mirrored.title, mirrored.state, known.state FROM notify.forge_changes AS mirrored
        JOIN notify.change_lists AS known USING (link)"""
    assert sources.rows(states) == [("No longer merged, says the forge", "merged", "merged")]


def test_what_an_operator_says_of_a_login_counts_before_its_spelling(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    sources.worker.execute(
        "INSERT INTO notify.identities (forge, login, username, source) VALUES ('github', 'Alice', 'carol', 'cli')"
    )
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    forge.state.comment(REPOSITORY, 1, by="bob", body="Why?")
    sources.take_webhooks()
    assert sources.deliver() == [("carol", "cl.comment.created", "author")]


def test_a_renamed_repository_keeps_its_threads(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    sources.take_webhooks()
    forge.state.rename(REPOSITORY, "acme/application")
    forge.state.comment("acme/application", 1, by="bob", body="Why?")
    sources.take_webhooks()
    assert sources.deliver() == [("alice", "cl.comment.created", "author")]
    assert sources.rows("SELECT full_name FROM notify.forge_repositories") == [("acme/application",)]
    assert sources.rows("SELECT DISTINCT topic FROM notify.events") == [("acme/app#1",)]


def test_no_secret_stands_in_a_table(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    forge.rest.instead += [Answer(401)] * 10
    sources.take_webhooks()
    with sources.worker.database.begin() as connection:
        tables = connection.execute(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'notify'")
        ).scalars()
        for table in tables.all():
            for row in connection.execute(text(f"SELECT t::text FROM notify.{table} AS t")).scalars():  # noqa: S608
                assert forge.hooks.secret not in row
                assert "ghs_" not in row
