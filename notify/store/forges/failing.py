"""Finds forges that have not been read completely for too long; each is returned once per failure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingForge:
    """
    A forge that has begun to fail.

    ``since`` is when the least recent of its complete readings began. ``fault`` is the name of what is wrong,
    ``words`` what the forge says; empty: nothing.
    """

    name: str
    since: datetime
    repositories: int
    of: int
    listing: bool
    fault: str
    words: str


# Lateness alone does not count: after a pause of the workers everything is late, but nothing has failed.
_NEWS = """
    WITH repository AS MATERIALIZED (
        SELECT forge, count(*) AS of, count(*) FILTER (WHERE read_at < now() - %(late)s) AS late,
            min(read_at) AS read_at, min(fault_at) FILTER (WHERE fault IS NOT NULL) AS fault_at,
            mode() WITHIN GROUP (ORDER BY fault) AS fault
        FROM (
            SELECT forge, fault, fault_at, coalesce(swept_at, fault_at, now()) AS read_at
            FROM notify.forge_repositories WHERE forge = ANY (%(names)s::text[]) AND NOT gone
        ) AS one GROUP BY forge
    ), seen AS MATERIALIZED (
        SELECT known.name, coalesce(repository.of, 0) AS of, coalesce(repository.late, 0) AS late,
            listing.read_at < now() - %(late)s AS is_late, least(repository.read_at, listing.read_at) AS read_at,
            least(repository.fault_at, CASE WHEN known.fault IS NOT NULL THEN known.fault_at END) AS fault_at,
            CASE WHEN breaker.state = 'open' AND breaker.reason = 'configuration' THEN 'Misconfigured'
                WHEN breaker.state = 'open' THEN 'Unavailable'
                ELSE coalesce(known.fault, repository.fault) END AS fault,
            CASE WHEN breaker.failures > 0 OR breaker.state = 'open' THEN breaker.last_error END AS words
        FROM notify.forges AS known
        LEFT JOIN repository ON repository.forge = known.name
        LEFT JOIN notify.endpoints AS breaker ON breaker.endpoint = 'forge ' || known.name
        CROSS JOIN LATERAL (SELECT coalesce(known.listed_at, known.fault_at, now()) AS read_at) AS listing
        WHERE known.name = ANY (%(names)s::text[])
    )
    UPDATE notify.forges AS known SET failing_since = CASE WHEN known.failing_since IS NULL THEN seen.read_at END
    FROM seen WHERE known.name = seen.name AND CASE WHEN known.failing_since IS NULL
        THEN (seen.is_late OR seen.late > 0) AND seen.fault_at < now() - %(lasting)s
        ELSE NOT seen.is_late AND seen.late = 0 END
    RETURNING known.name, known.failing_since AS since, seen.late AS repositories, seen.of, seen.is_late AS listing,
        coalesce(seen.fault, '') AS fault, coalesce(seen.words, '') AS words"""


def begun_to_fail(
    connection: Connection, names: Sequence[str], *, late: timedelta, lasting: timedelta
) -> list[FailingForge]:
    """
    The forges among these that have begun to fail. Also stores which have recovered. One statement.

    Args:
        late: How long the list of repositories or any of them has not been read completely.
        lasting: How long a fault has been known.
    """
    asked = {"names": list(names), "late": late, "lasting": lasting}
    found = connection.exec_driver_sql(_NEWS, asked).mappings()
    return [FailingForge(**row) for row in found if row["since"] is not None]
