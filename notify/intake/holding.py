"""Which of the letters that are written now are held, by the schedules of those whom they are for."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from notify.domain.fan_out import Priority
from notify.domain.preferences import NO_CHOICES, Choices, Person
from notify.domain.schedule import AT_ONCE, Wait, hold
from notify.intake.together import NO_WAITS, may_wait
from notify.store import groups, preferences
from notify.store.outbox import NewJob


def waits(
    connection: Connection, jobs: Sequence[NewJob], *, people: Mapping[str, Person], choices: Mapping[str, Choices]
) -> Mapping[tuple[int, str], Wait]:
    """
    How long each letter that is held waits, by its name.

    Two statements where anybody has a schedule or a bot did something, else none. Whose schedule is read changes
    it only after the letters are there, so that the change reaches them too.
    """
    asked = [job for job in jobs if may_wait(job) and (_by_bot(job) or _scheduled(choices.get(job.username)))]
    if not asked:
        return NO_WAITS
    schedules = preferences.schedules(connection, {job.username for job in asked})
    now = groups.now(connection)
    found = {
        job.name: hold(
            schedules.get(job.username, AT_ONCE),
            home=people[job.username].timezone,
            now=now,
            by_bot=_by_bot(job),
        )
        for job in asked
    }
    return {name: wait for name, wait in found.items() if wait}


def _by_bot(job: NewJob) -> bool:
    return job.priority == Priority.BULK


def _scheduled(chosen: Choices | None) -> bool:
    return (chosen or NO_CHOICES).schedule is not AT_ONCE
