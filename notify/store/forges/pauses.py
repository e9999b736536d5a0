"""Rate limits and open breakers that all workers share: which forges must not be called now, and for how long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import Connection

LONGEST_PAUSE = timedelta(hours=1)
FIRST_PAUSE = timedelta(minutes=1)
# After this time a muted forge is checked again.
MUTED_SECONDS = 60

Installation = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Pauses:
    """
    For how many more seconds forges and installations must not be called; the others are absent.

    ``to_be_probed``: forges whose breaker is open but that one worker may try.
    """

    forges: Mapping[str, float] = field(default_factory=dict)
    installations: Mapping[Installation, float] = field(default_factory=dict)
    to_be_probed: frozenset[str] = frozenset()


_LOAD = f"""
    SELECT wanted.name AS forge, NULL::bigint AS installation, greatest(
            0, extract(epoch FROM known.paused_until - now()),
            CASE WHEN breaker.muted_at IS NOT NULL THEN {MUTED_SECONDS} END,
            CASE WHEN breaker.state = 'open' THEN extract(epoch FROM breaker.probe_at - now()) END
        )::float8 AS seconds, coalesce(breaker.state = 'open', false) AS is_open
    FROM unnest(%(names)s::text[], %(endpoints)s::text[]) AS wanted(name, endpoint)
    LEFT JOIN notify.forges AS known USING (name) LEFT JOIN notify.endpoints AS breaker USING (endpoint)
    UNION ALL
    SELECT forge, installation, extract(epoch FROM paused_until - now())::float8, false
    FROM notify.forge_installations WHERE paused_until > now()"""
_END = """greatest(known.paused_until, now() + coalesce(
            %(wait)s::interval, least(%(longest)s::interval, %(first)s::interval * power(2, least(known.pauses, 20)))
        ))"""
_LEFT = "extract(epoch FROM paused_until - now())::float8"
_PAUSE_FORGE = f"""
    INSERT INTO notify.forges AS known (name, paused_until, pauses)
    VALUES (%(forge)s, now() + coalesce(%(wait)s::interval, %(first)s::interval), 1)
    ON CONFLICT (name) DO UPDATE SET pauses = known.pauses + 1, paused_until = {_END}
    RETURNING {_LEFT}"""
_PAUSE_INSTALLATION = f"""
    INSERT INTO notify.forge_installations AS known (forge, installation, paused_until)
    VALUES (%(forge)s, %(installation)s, now() + coalesce(%(wait)s::interval, %(first)s::interval))
    ON CONFLICT (forge, installation) DO UPDATE SET pauses = known.pauses + 1, paused_until = {_END}
    RETURNING {_LEFT}"""
_IS_OVER = "pauses > 0 AND paused_until <= now()"
_RESUME = f"""
    WITH forge AS (
        UPDATE notify.forges SET pauses = 0 WHERE name = %(forge)s AND {_IS_OVER}
    )
    UPDATE notify.forge_installations SET pauses = 0
    WHERE forge = %(forge)s AND installation = ANY (%(installations)s::bigint[]) AND {_IS_OVER}"""
_PAUSED_FOR = """
    SELECT extract(epoch FROM max(paused_until) - now())::float8 FROM (
        SELECT paused_until FROM notify.forges WHERE name = %(forge)s
        UNION ALL
        SELECT paused_until FROM notify.forge_installations
        WHERE forge = %(forge)s AND installation = %(installation)s
    ) AS pause WHERE paused_until > now()"""


def load(connection: Connection, endpoints: Mapping[str, str]) -> Pauses:
    """
    The present pauses.

    Args:
        endpoints: The name of each forge's breaker, by forge.
    """
    values = {"names": list(endpoints), "endpoints": list(endpoints.values())}
    rows = connection.exec_driver_sql(_LOAD, values).mappings().all()
    forges = [row for row in rows if row["installation"] is None]
    return Pauses(
        forges={row["forge"]: row["seconds"] for row in forges if row["seconds"] > 0},
        installations={
            (row["forge"], row["installation"]): row["seconds"] for row in rows if row["installation"] is not None
        },
        to_be_probed=frozenset(row["forge"] for row in forges if row["is_open"] and row["seconds"] <= 0),
    )


def pause(connection: Connection, forge: str, installation: int | None, *, wait: timedelta | None) -> float:
    """
    Make no calls for an installation during this time. Returns for how many seconds.

    Args:
        installation: None: the whole forge.
        wait: None: a minute, doubled each time in a row, an hour at most.
    """
    statement = _PAUSE_FORGE if installation is None else _PAUSE_INSTALLATION
    values = {"forge": forge, "installation": installation, "wait": wait}
    found = connection.exec_driver_sql(statement, {**values, "first": FIRST_PAUSE, "longest": LONGEST_PAUSE})
    return float(found.scalar_one())


def resume(connection: Connection, forge: str, installations: Sequence[int] = ()) -> None:
    """Store that the forge and these installations have answered since their last pauses."""
    connection.exec_driver_sql(_RESUME, {"forge": forge, "installations": list(installations)})


def paused_for(connection: Connection, forge: str, installation: int | None = None) -> timedelta | None:
    """How much longer the forge or the installation must not be called; None: both may be."""
    values = {"forge": forge, "installation": installation}
    seconds = connection.exec_driver_sql(_PAUSED_FOR, values).scalar()
    return None if seconds is None else timedelta(seconds=seconds)
