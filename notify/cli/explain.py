"""``notify explain``: why somebody is told of an event, or is not."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from sqlalchemy import Connection
from typer import Argument, Option

from notify.cli.connect import connect
from notify.cli.emit import UnreadableFile, lines
from notify.cli.output import AsJson, console, print_json, print_table
from notify.domain.errors import NotifyError
from notify.intake.explain import Explanation, before_the_fact
from notify.intake.explain import explain as explained
from notify.intake.schema import EventIn, parse
from notify.store.outbox import events, jobs
from notify.store.outbox.jobs import NotificationView


class NoSuchEvent(NotifyError):
    """No event has this key."""


def explain(
    event: Annotated[str, Argument(metavar="EVENT", help="The event's key.")],
    user: Annotated[str, Argument(metavar="USER", help="The person's username.")],
    *,
    dry_run: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Take the event from this file instead and store nothing: one JSON object, or one a line; - reads"
            " standard input. A single event without a key is meant whatever EVENT says.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Why a person is told of an event or is not, by what is known today: every rule that is asked, in order."""
    given = None if dry_run is None else _given(dry_run, event)
    with connect() as deployment, deployment.database.engine.connect() as connection:
        if given is None:
            found, written = _of_stored(connection, event, user)
        else:
            found, written = before_the_fact(connection, given, user), []
        connection.rollback()
    if as_json:
        print_json({"event": event, **asdict(found), "notifications": written})
        return
    told = "told" if found.told else "not told"
    console.print(f"{user} is {told} of {event} ({found.event_type}): {found.why}\n", markup=False)
    print_table(["rule", "found"], [(step.rule, step.found) for step in found.trace])
    for one in written:
        where = f"job {one.job_id}" if one.job_id else "decided then"
        console.print(f"\n{where}: {one.status} {one.why or ''}".rstrip(), markup=False)


def _of_stored(connection: Connection, key: str, user: str) -> tuple[Explanation, list[NotificationView]]:
    view = jobs.of_event(connection, key)
    if view is None:
        raise NoSuchEvent(key=key)
    event = events.load(connection, [view.id])[view.id]
    return explained(connection, event, user), [one for one in view.people if one.username == user]


def _given(source: Path, key: str) -> EventIn:
    """
    The event of this key in the file, or its only one if that has none.

    Raises:
        UnreadableFile: It cannot be read, or holds something else than JSON objects.
        NoSuchEvent: None of its events has the key.
        MalformedEvent: The event is not well-formed.
    """
    found = _objects(source)
    for one in found:
        if one.get("key") == key or (len(found) == 1 and "key" not in one):
            return parse(one)
    raise NoSuchEvent(key=key, file=str(source))


def _objects(source: Path) -> list[dict[str, Any]]:
    with lines(source) as opened:
        content = b"".join(opened)
    try:
        found = _documents(content)
    except (ValueError, RecursionError):
        found = [None]
    if not all(isinstance(one, dict) for one in found):
        raise UnreadableFile(file=str(source), reason="expected JSON objects in UTF-8")
    return found


def _documents(content: bytes) -> list[Any]:
    try:
        return [json.loads(content)]
    except ValueError:
        return [json.loads(line) for line in content.splitlines() if line.strip()]
