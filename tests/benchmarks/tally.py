"""What became of the emails since an instant, according to the table."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from notify.store.database import Database
from notify.store.tables.emails import email_jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Emails that ended, by status, and how many seconds after the instant the first and the last were recorded."""

    emails: Mapping[str, int]
    first_seconds: float | None
    last_seconds: float | None


def now(database: Database) -> datetime:
    """The database's clock."""
    with database.begin() as connection:
        instant: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return instant


def tally(database: Database, *, since: datetime) -> Tally:
    """What has ended since this instant of the database's clock."""
    ended = email_jobs.c.finished_at
    question = select(email_jobs.c.status, func.count(), func.min(ended), func.max(ended)).group_by(email_jobs.c.status)
    with database.begin() as connection:
        rows = connection.execute(question.where(ended >= since)).all()
    return Tally(
        emails={status: count for status, count, _, _ in rows},
        first_seconds=min(((first - since).total_seconds() for *_, first, _ in rows), default=None),
        last_seconds=max(((last - since).total_seconds() for *_, last in rows), default=None),
    )
