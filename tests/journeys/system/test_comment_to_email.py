"""A comment arrives at each of the doors and becomes one email per person, or a reason why not."""

import json
from datetime import timedelta
from re import findall
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
from sqlalchemy import update
from standardwebhooks import Webhook

import notify
from notify import wiring
from notify.embedded.completion import as_string
from notify.store.tables.people import notification_event_types
from tests.journeys.system.conftest import EMAIL_SECONDS, System, comment
from tests.support import servers
from tests.support.wait import until
from tests.support.webhooks import ScriptedEndpoint


def test_a_comment_over_rest_becomes_one_email_for_everyone_but_the_actor(system: System) -> None:
    alice, bob, dana = system.town("alice", "bob", "dana")

    key = system.say(dana, author=alice, reviewers=[alice, bob, dana, "unknown"])

    assert system.outcome(key) == {
        alice: ("sent", None),
        bob: ("sent", None),
        dana: ("skipped", "is_actor"),
        "unknown": ("skipped", "no_address"),
    }
    reasons = {email.header("Delivered-To"): email.header("X-Notify-Reason") for email in system.emails(about=key)}
    assert reasons == {f"{alice}@example.com": "author", f"{bob}@example.com": "reviewer"}


def test_forty_comments_are_at_most_three_emails_in_order_whatever_happens_to_the_broker(
    system: System,
) -> None:
    alice, *talkers = system.town("alice", "bob", "carol", "dana")
    with system.database.begin() as connection:
        window = {"bundle_within": timedelta(seconds=2)}
        connection.execute(update(notification_event_types).values(**window))
    keys = []
    for number in range(40):
        keys.append(system.say(talkers[number % 3], body=f"Word {number}.", link=f"CL-{alice}", author=alice))
        if number == 20:
            servers.empty_broker(as_string(system.settings.broker_url))

    assert [system.outcome(key)[alice] for key in keys] == [("sent", None)] * 40

    emails = [email for key in keys for email in system.emails(about=key)]
    assert 1 < len(emails) <= 3
    assert findall(r"> Word (\d+)\.", "".join(email.text for email in emails)) == [str(n) for n in range(40)]


def test_an_event_over_celery_becomes_an_email(system: System) -> None:
    (alice,) = system.town("alice")
    key = uuid4().hex

    app = wiring.celery_app(system.settings)
    app.send_task("notify.receive", [[comment("dana", key=key, author=alice)]], retry=False)

    until(lambda: system.program.get(f"/api/v1/events/{key}").status_code == 200, seconds=60)
    assert system.outcome(key) == {alice: ("sent", None)}


@pytest.mark.parametrize("commits", [True, False])
def test_an_event_emitted_in_a_transaction_is_sent_if_and_only_if_it_commits(system: System, *, commits: bool) -> None:
    (alice,) = system.town("alice")
    key, later = uuid4().hex, uuid4().hex
    with psycopg.connect(system.database.url) as connection:
        notify.emit(connection, comment("dana", key=key, author=alice), doorbell=wiring.doorbell(system.settings))
        (connection.commit if commits else connection.rollback)()
        notify.emit(connection, comment("dana", key=later, author=alice), doorbell=wiring.doorbell(system.settings))

    assert system.outcome(later) == {alice: ("sent", None)}
    if commits:
        assert system.outcome(key) == {alice: ("sent", None)}
    else:
        assert system.program.get(f"/api/v1/events/{key}").status_code == 404
    assert len(system.emails(about=key)) == int(commits)


def test_a_repeated_event_sends_nothing_again(system: System) -> None:
    (alice,) = system.town("alice")
    key = system.say("dana", author=alice)
    system.outcome(key)

    answer = system.program.post("/api/v1/events", json=comment("dana", key=key, author=alice))
    later = system.say("dana", author=alice)

    assert answer.json()["duplicate"] is True
    assert system.outcome(later) == {alice: ("sent", None)}
    assert len(system.emails(about=key)) == 1


def test_one_click_in_the_email_stops_that_event_type(system: System) -> None:
    (alice,) = system.town("alice")
    key = system.say("dana", author=alice)
    system.outcome(key)
    (email,) = system.emails(about=key)
    link = email.header("List-Unsubscribe").strip("<>")
    assert email.header("List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"

    clicked = httpx.post(link, data={"List-Unsubscribe": "One-Click"})

    assert clicked.status_code == 200
    assert system.outcome(system.say("dana", author=alice)) == {alice: ("skipped", "muted_event")}


def test_a_preference_set_over_rest_applies_to_the_next_event(system: System) -> None:
    (alice,) = system.town("alice")
    with system.person(alice) as person:
        person.put("/api/v1/user/notification/config", json={"enabled": False}).raise_for_status()

    assert system.outcome(system.say("dana", author=alice)) == {alice: ("skipped", "muted_all")}


def test_every_link_from_an_email_to_the_service_opens_a_page(system: System) -> None:
    (alice,) = system.town("alice")
    key = system.say("dana", author=alice)
    system.outcome(key)
    (email,) = system.emails(about=key)

    links = [word for word in email.text.split() if word.startswith(system.stack.state.urls["api"])]

    assert len(links) == 2
    for link in links:
        page = httpx.get(link)
        assert page.status_code == 200, urlsplit(link).path.split("/")[1]
        assert page.headers["content-type"].startswith("text/html")


def test_flower_shows_both_stages_with_their_tasks(system: System) -> None:
    (alice,) = system.town("alice")
    system.outcome(system.say("dana", author=alice))
    flower = system.stack.state.urls["flower"]

    def results() -> dict[str, list[str]] | None:
        tasks: dict[str, dict[str, Any]] = httpx.get(f"{flower}/api/tasks", timeout=10).raise_for_status().json()
        found: dict[str, list[str]] = {}
        for task in tasks.values():
            if task["state"] == "SUCCESS":
                found.setdefault(task["name"], []).append(task["result"])
        fanned_out = any("'told': 1" in one and "'claimed': 1" in one for one in found.get("notify.fan_out", []))
        return found if fanned_out and "notify.deliver" in found else None

    found = until(results, seconds=60)

    assert found is not None
    keys = ("claimed", "sent", "retried", "dead", "skipped", "released", "seconds")
    assert all(f"'{key}':" in result for key in keys for result in found["notify.deliver"])


def test_readiness_says_that_emails_are_sent(system: System) -> None:
    answer = system.program.get("/readyz")

    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert as_string(system.settings.smtp_url).startswith("smtp://127.0.0.1")


def test_an_endpoint_added_over_rest_is_told_how_an_event_and_its_email_ended(system: System) -> None:
    with ScriptedEndpoint() as endpoint:
        given = {"name": "crm", "url": endpoint.url, "types": ["email.sent", "event.done"]}
        secret = system.program.post("/api/v1/webhooks", json=given).raise_for_status().json()["secret"]
        (alice,) = system.town("alice")
        key = system.say("dana", author=alice)

        def told() -> dict[str, str]:
            """Type and outcome of the calls about this event; the embedded queue's own events are told too."""
            verified = [Webhook(secret).verify(one.body, dict(one.headers)) for one in list(endpoint.calls)]
            about = [(one["type"], one["data"]) for one in verified if key in json.dumps(one)]
            return {type_: data["outcome"] for type_, data in about}

        assert system.outcome(key)[alice] == ("sent", None)
        assert until(lambda: len(told()) == 2, seconds=EMAIL_SECONDS)
        system.program.delete("/api/v1/webhooks/crm").raise_for_status()
    assert told() == {"email.sent": "sent", "event.done": "done"}
