"""How the outbox stands, counted from rows in every state."""

from datetime import timedelta

from sqlalchemy import Connection, func, insert

from notify.domain.jobs import Stage
from notify.store import gauges
from notify.store.gauges import Gauges
from notify.store.tables import events

EMPTY = Gauges(due=0, oldest_due_seconds=0, in_flight=0, dead_last_day=0)


def ago(**span: float) -> object:
    return func.now() - timedelta(**span)


def test_an_empty_outbox_stands_at_nothing(connection: Connection) -> None:
    assert gauges.read(connection) == {Stage.FAN_OUT: EMPTY, Stage.DELIVER: EMPTY}


def test_each_row_is_counted_where_it_stands(connection: Connection) -> None:
    rows = [
        {"status": "pending", "due_at": ago(seconds=90)},
        {"status": "pending", "due_at": ago(seconds=-60)},
        {"status": "working", "due_at": ago(seconds=-60)},
        {"status": "working", "due_at": ago(seconds=1)},
        {"status": "dead", "due_at": None, "finished_at": ago(hours=1)},
        {"status": "dead", "due_at": None, "finished_at": ago(hours=25)},
        {"status": "done", "due_at": None, "finished_at": ago(hours=1)},
    ]
    for number, row in enumerate(rows):
        common = {"key": str(number), "type": "t", "cl_link": "CL-1", "actor": "dana"}
        connection.execute(insert(events).values(common | row))

    assert gauges.read(connection)[Stage.FAN_OUT] == Gauges(due=2, oldest_due_seconds=90, in_flight=1, dead_last_day=1)
