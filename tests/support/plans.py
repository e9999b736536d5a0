"""What PostgreSQL does to answer: the executed plan of a statement, and the rows it read."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from notify.store.database import Database
from tests.support.statements import statements

Plan = dict[str, Any]
END_TO_END = text("SELECT relname FROM pg_stat_xact_user_tables WHERE schemaname = 'notify' AND seq_scan > 0")


def plan_of(database: Database, session: Connection, ask: Callable[[], object]) -> Plan:
    """The EXPLAIN ANALYZE plan of the statement that *ask* sends; rolled back afterwards."""
    with statements(database) as sent, session.begin_nested() as undone:
        ask()
        undone.rollback()
    (question,) = (one for one in sent if "SAVEPOINT" not in one.sql)
    explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {question.sql}"
    with session.begin_nested() as undone:
        plan: Plan = session.exec_driver_sql(explain, question.parameters).scalar_one()[0]["Plan"]
        undone.rollback()
    return plan


def nodes(plan: Plan) -> list[Plan]:
    """The plan and every plan below it."""
    return [plan, *(node for one in plan.get("Plans", []) for node in nodes(one))]


def indexes_read(plan: Plan) -> set[str]:
    return {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


def tables_scanned(plan: Plan) -> set[str]:
    """The tables that it scans sequentially."""
    return {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}


def rows_read(plan: Plan) -> float:
    """
    Rows and index entries that the scans read, including those removed by filters.

    Pages would be less reliable: how many a row costs depends on the version, on bloat and on other activity.
    """
    scans = [one for one in nodes(plan) if one.keys() & {"Relation Name", "Index Name"}]
    return float(sum(met(one) * one["Actual Loops"] for one in scans if one["Node Type"] != "ModifyTable"))


def met(scan: Plan) -> float:
    """Rows read by one scan."""
    return float(scan["Actual Rows"] + sum(count for name, count in scan.items() if name.startswith("Rows Removed by")))


def read_end_to_end(session: Connection) -> set[str]:
    """The tables that this transaction has scanned sequentially, also in foreign keys and triggers."""
    return set(session.scalars(END_TO_END))
