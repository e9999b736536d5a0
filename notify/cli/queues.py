"""``notify queues``: at which commit each queue is green, its heads, taking one in, and retrying it."""

from collections.abc import Callable
from typing import Annotated

from typer import Argument, Option, Typer

from notify import wiring
from notify.cli.connect import connect
from notify.cli.output import AsJson, Columns, console, print_facts, print_json, print_records, relative
from notify.domain.errors import NotifyError
from notify.domain.heads import Head, RequestId
from notify.domain.stages import HEADS
from notify.heads import reading
from notify.heads.reading import HistoryEntry
from notify.heads.stage import Queues
from notify.store.heads import listing
from notify.store.heads.listing import QueueView

SHORT_SHA = 12
MOST_HEADS = 1_000


def _short(uri: str | None) -> str | None:
    return Head.parse(uri).sha[:SHORT_SHA] if uri else None


def _verdict(one: HistoryEntry) -> str | None:
    if one.degree is None:
        return one.state
    return "green" if one.degree == 0 else f"broken ({one.degree:.0%})"


QUEUE_COLUMNS: Columns = {
    "queue": "name",
    "last green": lambda one: _short(one.last_green_uri),
    "found": lambda one: relative(one.last_green_at) if one.last_green_at else None,
    "under way": "unfinished",
    "fault": lambda one: f"{one.fault}, since {relative(one.fault_at)}" if one.fault else None,
}
HISTORY_COLUMNS: Columns = {
    "head": lambda one: one.sha[:SHORT_SHA],
    "request": "request_id",
    "verdict": _verdict,
    "committed": lambda one: relative(one.committed_at),
    "author": "author",
    "title": "title",
}

app = Typer(
    help="Show at which commit a queue is green; list its heads; take one in, or retry it.", no_args_is_help=True
)

QueueName = Annotated[str, Argument(metavar="QUEUE", help="Name of the queue in NOTIFY_FORGES_FILE.")]


class NoSuchQueue(NotifyError):
    """No such queue is configured."""


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List queues: the last green head of each, and how many requests are under way."""
    with connect() as deployment:
        configured = wiring.queues(deployment.settings, deployment.database, doorbell=deployment.doorbell)
        with deployment.database.begin() as connection:
            found = listing.queues(connection, list(configured.settings))
    print_records(found, QUEUE_COLUMNS, empty="no queue is configured", as_json=as_json)


@app.command()
def show(name: QueueName, *, as_json: AsJson = False) -> None:
    """Show a queue: its last green head, and its newest request."""
    with connect() as deployment:
        configured = wiring.queues(deployment.settings, deployment.database, doorbell=deployment.doorbell)
        _configured(configured, name)
        with deployment.database.begin() as connection:
            (queue,) = listing.queues(connection, [name])
            request = listing.request(connection, name, queue.latest_request_id)
    if as_json:
        print_json({"queue": queue, "latest_request": request})
        return
    print_facts(_facts(queue))
    if request is not None:
        print_facts(
            {
                "newest request": f"request/{name}/{request.id}",
                "state": "failed: could not be validated" if request.forced else request.state,
                "head": _short(request.uri),
                "base": _short(request.base_uri),
                "build": request.build_url or request.build_id,
                "since": relative(request.finished_at or request.created_at),
            }
        )


@app.command()
def history(
    name: QueueName,
    *,
    cursor: Annotated[str | None, Option(metavar="SHA", help="Begin with this commit; absent: the newest.")] = None,
    limit: Annotated[int, Option(min=1, max=MOST_HEADS, help="How many to list at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List a queue's heads, newest first, with what is known of each."""
    with connect() as deployment:
        configured = wiring.queues(deployment.settings, deployment.database, doorbell=deployment.doorbell)
        _configured(configured, name)
        page = reading.history(deployment.database, configured, name, cursor=cursor, limit=limit)
    print_records(page.items, HISTORY_COLUMNS, empty="it has no commits", as_json=as_json)
    if page.next_cursor and not as_json:
        console.print(f"More: --cursor {page.next_cursor}", markup=False)


@app.command()
def ingest(name: QueueName, *, as_json: AsJson = False) -> None:
    """Take in a queue's newest head, to be validated. Safe to repeat: a head has one request."""
    _request(Queues.ingest, name, as_json=as_json)


@app.command()
def retry(name: QueueName, *, as_json: AsJson = False) -> None:
    """Validate a queue's newest head again, as a new request. Only if nothing was found out about it."""
    _request(Queues.retry, name, as_json=as_json)


def _request(make: Callable[[Queues, str], RequestId], name: str, *, as_json: bool) -> None:
    """Have *make* give the queue a request, wake the workers, and print its id."""
    with connect() as deployment:
        configured = wiring.queues(deployment.settings, deployment.database, doorbell=deployment.doorbell)
        id_ = make(configured, name)
        deployment.doorbell.ring(HEADS)
    if as_json:
        print_json({"id": str(id_)})
    else:
        console.print(str(id_), markup=False)


def _configured(queues: Queues, name: str) -> None:
    if name not in queues.settings:
        raise NoSuchQueue(queue=name, known=", ".join(sorted(queues.settings)) or "none")


def _facts(queue: QueueView) -> dict[str, object]:
    return {
        "queue": queue.name,
        "last green": _short(queue.last_green_uri),
        "found": relative(queue.last_green_at) if queue.last_green_at else None,
        "slots taken": queue.in_flight_count,
        "under way": queue.unfinished,
        "fault": f"{queue.fault}, since {relative(queue.fault_at)}" if queue.fault and queue.fault_at else None,
    }
