"""
The state of the outbox now, in a few numbers, at a cost that does not grow with history.

*Decided*: waiting rows are counted up to ``MOST``, in the index that claims use. A scrape must not cost more
when the backlog grows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from notify.domain.claims import WAITING, Lane
from notify.domain.stages import DELIVER
from notify.domain.waves import WINDOW, Deaths, RecentOutcomes
from notify.store.outbox.items import first_due

MOST = 100_000
NEWEST = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """
    Work items of one stage, counted up to ``MOST``.

    ``due`` may be claimed now, including expired leases; ``scheduled`` are due later. ``oldest_due_seconds`` is 0
    when nothing is due. ``in_flight`` are leased, ``expired_leases`` belonged to workers that vanished.
    ``dead_last_day``: died within a day, by reason.
    """

    due: int
    oldest_due_seconds: float
    scheduled: int
    in_flight: int
    expired_leases: int
    dead_last_day: Mapping[str, int]


def read(connection: Connection, stages: Sequence[str]) -> dict[str, Gauges]:
    """The gauges of these stages, by stage; a statement for each, and one for the dead items of all."""
    dead: dict[str, dict[str, int]] = {stage: {} for stage in stages}
    for stage, reason, count in connection.exec_driver_sql(_DEAD_ITEMS, {"stages": list(stages)}).cursor.fetchall():
        dead[stage][reason] = count
    return {stage: _of_stage(connection, stage, dead_last_day=dead[stage]) for stage in stages}


def recently_ended(connection: Connection) -> RecentOutcomes:
    """
    How the latest ``NEWEST`` or so emails ended, counted by whole minutes, with at most ``NEWEST`` deaths.

    If more died, the newest deaths stand for all and the sent ones are scaled down in proportion.
    """
    ended = connection.exec_driver_sql(_ENDED, {"window": WINDOW}).one()
    found = connection.exec_driver_sql(_DEATHS, {"window": WINDOW, "since": ended.since})
    deaths = [Deaths(**one) for one in found.mappings()]
    is_cut = sum(one.count for one in deaths) == NEWEST < ended.dead
    return RecentOutcomes(sent=ended.sent * NEWEST // ended.dead if is_cut else ended.sent, deaths=deaths)


def undeliverable_addresses(connection: Connection) -> int:
    """How many people's present address a relay refused for good."""
    count: int = connection.exec_driver_sql(_UNDELIVERABLE).scalar_one()
    return count


def _of_stage(connection: Connection, stage: str, *, dead_last_day: Mapping[str, int]) -> Gauges:
    numbers = connection.exec_driver_sql(_ITEMS, {"stage": stage}).mappings().one()
    return Gauges(**numbers, dead_last_day=dead_last_day)


def _count(lanes: Sequence[Lane], due: str) -> str:
    """SQL that counts these lanes' items; each lane is one range of the index that claims use."""
    ranges = " UNION ALL ".join(
        "(SELECT 1 FROM notify.work_items"
        f" WHERE stage || '' = %(stage)s AND lane = {lane:d} AND due_at {due} LIMIT {MOST})"
        for lane in lanes
    )
    return f"(SELECT count(*) FROM (SELECT 1 FROM ({ranges}) AS one LIMIT {MOST}) AS counted)"


_WAITS = (*WAITING, Lane.LAPSED)
_OLDEST = f"least({', '.join(map(first_due, (*_WAITS, Lane.LEASED)))})"
_ITEMS = f"""
    SELECT {_count((*_WAITS, Lane.LEASED), "<= now()")} AS due,
        greatest(coalesce(extract(epoch FROM now() - {_OLDEST}), 0), 0)::float8 AS oldest_due_seconds,
        {_count(_WAITS, "> now()")} AS scheduled,
        {_count([Lane.LEASED], "> now()")} AS in_flight,
        {_count([Lane.LEASED], "<= now()")} AS expired_leases"""
_DEAD_ITEMS = f"""
    SELECT asked.stage, latest.reason, count(*)
    FROM unnest(%(stages)s::text[]) AS asked(stage) CROSS JOIN LATERAL (
        SELECT split_part(reason, ':', 1) AS reason FROM notify.work_items AS item
        WHERE item.stage || '' = asked.stage AND lane = {Lane.DEAD:d} AND due_at > now() - interval '1 day'
        ORDER BY due_at DESC LIMIT {MOST}
    ) AS latest GROUP BY asked.stage, latest.reason"""
_UNDELIVERABLE = """
    SELECT count(*) FROM notify.people AS person
    LEFT JOIN notify.user_notification_settings AS own ON own.username = person.username
    WHERE person.undeliverable_email IS NOT NULL AND person.undeliverable_email = coalesce(own.email, person.email)"""
_ENDED = f"""
    WITH minutes AS (
        SELECT minute, coalesce(sum(count) FILTER (WHERE outcome = 'sent'), 0) AS sent,
            coalesce(sum(count) FILTER (WHERE outcome = 'dead'), 0) AS dead
        FROM notify.delivery_stats WHERE minute > now() - %(window)s AND outcome IN ('sent', 'dead') GROUP BY minute
    ), from_the_newest AS (
        SELECT *, sum(sent + dead) OVER (ORDER BY minute DESC) - sent - dead AS newer FROM minutes
    )
    SELECT coalesce(sum(sent), 0)::bigint AS sent, coalesce(sum(dead), 0)::bigint AS dead, min(minute) AS since
    FROM from_the_newest WHERE newer < {NEWEST}"""
_DEATHS = f"""
    SELECT reason, count(*) AS count, min(due_at) AS first_at FROM (
        SELECT reason, due_at FROM notify.work_items
        WHERE stage || '' = '{DELIVER}' AND lane = {Lane.DEAD:d} AND due_at >= greatest(now() - %(window)s, %(since)s)
        ORDER BY due_at DESC LIMIT {NEWEST}
    ) AS newest GROUP BY reason"""
