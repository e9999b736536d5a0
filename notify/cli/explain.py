"""``notify explain``: why somebody is or is not told of an event."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from sqlalchemy import Connection
from typer import Argument, BadParameter, FileBinaryRead, Option

from notify.cli.connect import connect
from notify.cli.events import no_such_event
from notify.cli.output import AsJson, console, print_json, print_table, relative
from notify.cli.people import NoSuchPerson
from notify.domain.errors import NoSuchEvent
from notify.intake.explain import NOT_CONCERNED, Explanation, explain_unstored
from notify.intake.explain import explain as explain_stored
from notify.intake.schema import EventIn, parse
from notify.store.directory import directory
from notify.store.outbox import events, jobs
from notify.store.outbox.jobs import NotificationView


def explain(
    event: Annotated[str, Argument(metavar="EVENT", help="The event's key.")],
    user: Annotated[str, Argument(metavar="USER", help="The person's username.")],
    *,
    dry_run: Annotated[
        FileBinaryRead | None,
        Option(
            metavar="FILE",
            help="Read the event from this file and store nothing. The file has one JSON object, or one per line;"
            " - reads standard input. The only event of a file matches any EVENT if it has no key.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain why a person is or is not told of an event: every rule, in order, as it decides today."""
    given = None if dry_run is None else _event_in_file(dry_run.read(), event)
    with connect() as deployment, deployment.database.engine.connect() as connection:
        if given is None:
            found, decided = _explain_stored(connection, event, user, deployment.settings.operator_names)
        else:
            found, decided = explain_unstored(connection, given, user), []
        connection.rollback()
        if found.why == NOT_CONCERNED and directory.person(connection, user) is None:
            raise NoSuchPerson(name=user, concerned=found.trace[-1].found.removeprefix("the event concerns "))
    if as_json:
        print_json({"event": event, **asdict(found), "notifications": decided})
        return
    told = "told" if found.told else "not told"
    console.print(f"{user} is {told} of {event} ({found.event_type}): {found.why}\n", markup=False)
    print_table(["rule", "found"], [(step.rule, step.found) for step in found.trace])
    for one in decided:
        where = f"job {one.job_id}" if one.job_id else "decided then"
        leaves = f", due {relative(one.due_at)}" if one.due_at else ""
        console.print(f"\n{where}: {one.status} {one.why or ''}".rstrip() + leaves, markup=False)


def _explain_stored(
    connection: Connection, key: str, user: str, operators: Sequence[str]
) -> tuple[Explanation, list[NotificationView]]:
    view = jobs.of_event(connection, key)
    if view is None:
        raise no_such_event(connection, key)
    event = events.load(connection, [view.id])[view.id]
    return explain_stored(connection, event, user, operators=operators), [
        one for one in view.people if one.username == user
    ]


def _event_in_file(content: bytes, key: str) -> EventIn:
    """
    The event of this key, or the only one if it has no key.

    Raises:
        BadParameter: The content is something else than JSON objects.
        NoSuchEvent: None of them has the key.
        MalformedEvent: The event is not well-formed.
    """
    try:
        found = _documents(content)
    except (ValueError, RecursionError):
        found = []
    if not found or not all(isinstance(one, dict) for one in found):
        message = "expected JSON objects in UTF-8"
        raise BadParameter(message)
    for one in found:
        if one.get("key") == key or (len(found) == 1 and "key" not in one):
            return parse(one)
    raise NoSuchEvent(key=key, in_the_file=", ".join(str(one.get("key")) for one in found))


def _documents(content: bytes) -> list[Any]:
    try:
        return [json.loads(content)]
    except ValueError:
        return [json.loads(line) for line in content.splitlines() if line.strip()]
