"""Letters are written in their places: at once, or waiting for the letter that they leave with."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType

from sqlalchemy import Connection

from notify.domain.fan_out import Priority
from notify.domain.schedule import Wait
from notify.domain.together import Arrangement, Group, Leader, Place, Standing, arrange
from notify.store import groups, outbox
from notify.store.groups import Locked
from notify.store.outbox import NewJob

NEVER = timedelta(0)
Window = Callable[[NewJob], timedelta]
Waits = Mapping[tuple[int, str], Wait]
NO_WAITS: Waits = MappingProxyType({})


def write(connection: Connection, jobs: Sequence[NewJob], *, window: Window, waits: Waits = NO_WAITS) -> Counter[str]:
    """
    Write the rows that are not there yet; how many by status. Safe to repeat.

    Workers that write letters to the same people about the same change lists, or to be held until the
    same instant, take turns until they commit. A constant number of statements.

    Args:
        window: How long after a letter about its change list this one waits; zero: it goes at once and alone.
        waits: Which of them are held, by their names.
    """
    jobs = [replace(job, held_by=waits[job.name].by) if job.name in waits else job for job in jobs]
    able = {job.name: (_group(job, waits), window(job)) for job in jobs if job.held_by or _follows(job, window)}
    if not able:
        return outbox.add(connection, jobs)
    locked = groups.lock(connection, {group for group, _ in able.values()})
    known = groups.written_before(connection, {event_id for event_id, _ in able}) if locked.standings else set()
    waiting = [job for job in jobs if job.name in able and job.name not in known]
    arranged = arrange([able[job.name] for job in waiting], locked.standings, now=locked.now)
    plain = [job for job in jobs if job.name not in able]
    return _write(connection, plain, waiting, arranged, locked)


def _write(
    connection: Connection, plain: Sequence[NewJob], waiting: Sequence[NewJob], arranged: Arrangement, locked: Locked
) -> Counter[str]:
    """Those with a letter of their own first: the others name them by their ids."""
    placed = list(zip(waiting, arranged.places, strict=True))
    first = outbox.written(connection, [*plain, *(_own(job, place) for job, place in placed if not place.leader)])
    ids = {(row.event_id, row.username): row.id for row in first}

    def id_of(leader: Leader) -> int:
        return leader.id if leader.id is not None else ids[waiting[leader.index or 0].name]

    def letter_of(leader: Leader) -> str | None:
        return waiting[leader.index or 0].message_id if leader.id is None else locked.letter_ids[leader.id]

    following = [
        replace(_at(job, place), leader_id=id_of(place.leader), carried_as=letter_of(place.leader))
        for job, place in placed
        if place.leader
    ]
    second = outbox.written(connection, following)
    groups.remember(connection, _changed(arranged.standings, locked, id_of))
    return Counter(row.status for row in (*first, *second))


def _changed(
    standings: Mapping[Group, Standing], locked: Locked, id_of: Callable[[Leader], int]
) -> dict[Group, tuple[datetime, int | None]]:
    """What differs from what the groups have noted; new ones have noted that their letter leaves now."""
    before = {group: locked.standings.get(group, Standing(last_at=group.until or locked.now)) for group in standings}
    return {
        group: (standing.last_at or locked.now, id_of(standing.leader) if standing.leader else None)
        for group, standing in standings.items()
        if (standing.last_at, standing.leader) != (before[group].last_at, before[group].leader)
    }


def may_wait(job: NewJob) -> bool:
    """Whether it is a letter, and not a required one."""
    return job.skipped_because is None and job.priority != Priority.URGENT


def _follows(job: NewJob, window: Window) -> bool:
    return may_wait(job) and window(job) > NEVER


def _group(job: NewJob, waits: Waits) -> Group:
    return Group(job.username, until=waits[job.name].until) if job.held_by else Group(job.username, job.cl_link)


def _at(job: NewJob, place: Place) -> NewJob:
    return replace(job, leaves_at=place.leaves_at.isoformat() if place.leaves_at else None)


def _own(job: NewJob, place: Place) -> NewJob:
    return replace(_at(job, place), carried_as=job.message_id if place.leads else None)
