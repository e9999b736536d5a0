"""The directory: who reads mail where, who wrote which change list, who reviews it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    Connection,
    RowMapping,
    Text,
    all_,
    any_,
    bindparam,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from notify.domain.events import ChangeList
from notify.domain.preferences import Person
from notify.store.tables import people as tables
from notify.store.tables.emails import notifications

PERSON = (
    tables.people.c.username,
    tables.people.c.email,
    tables.people.c.display_name,
    tables.people.c.locale,
    tables.people.c.timezone,
    tables.people.c.is_bot,
    tables.people.c.active,
    tables.people.c.undeliverable_email,
)

_STATED = union_all(
    *(
        select(table.c.username, table.c.timezone).where(table.c.timezone.is_not(None))
        for table in (tables.people, tables.user_notification_settings)
    )
).subquery()


class State(StrEnum):
    """Where a change list stands."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """An address that a relay refused for good, and the relay's words."""

    username: str
    email: str
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """That a relay refused a person's address for good: when, and in which words; None if it had none."""

    email: str
    at: datetime
    reply: str | None


# Their indexes find a username.
_OF_PEOPLE = (
    tables.people,
    tables.user_notification_settings,
    tables.user_notification_preferences,
    tables.topic_preferences,
    notifications,
)

_PEOPLE = select(*PERSON).where(tables.people.c.username == any_(bindparam("usernames", type_=ARRAY(Text))))
_reviewer_names = func.array_agg(tables.cl_reviewers.c.username)
_CHANGE_LISTS = (
    select(
        tables.change_lists.c.link,
        tables.change_lists.c.title,
        tables.change_lists.c.url,
        tables.change_lists.c.repository,
        tables.change_lists.c.author,
        tables.change_lists.c.first_title,
        tables.change_lists.c.first_repository,
        func.coalesce(
            _reviewer_names.filter(tables.cl_reviewers.c.username.is_not(None)), literal([], ARRAY(Text))
        ).label("reviewers"),
    )
    .select_from(tables.change_lists.outerjoin(tables.cl_reviewers))
    .where(tables.change_lists.c.link == any_(bindparam("links", type_=ARRAY(Text))))
    .group_by(tables.change_lists.c.link)
)


def people(connection: Connection, usernames: Iterable[str]) -> dict[str, Person]:
    """The people of these names, by username; whom the directory does not know is absent."""
    rows = connection.execute(_PEOPLE, {"usernames": list(usernames)})
    return {row["username"]: Person(**row) for row in rows.mappings()}


def person(connection: Connection, username: str) -> Person | None:
    """One person; None if the directory does not know the name."""
    return people(connection, [username]).get(username)


def is_known(connection: Connection, username: str) -> bool:
    """Whether the directory has the person, or anything is stored of them: preferences, or what they were told."""
    own = (exists().where(table.c.username == username) for table in _OF_PEOPLE)
    return bool(connection.scalar(select(or_(*own))))


def change_lists(connection: Connection, links: Iterable[str]) -> dict[str, ChangeList]:
    """The change lists of these links, by link, reviewers sorted; what is unknown is absent."""
    rows = connection.execute(_CHANGE_LISTS, {"links": list(links)})
    return {row["link"]: _change_list(row) for row in rows.mappings()}


def change_list(connection: Connection, link: str) -> ChangeList | None:
    """One change list; None if the directory does not know the link."""
    return change_lists(connection, [link]).get(link)


def state(connection: Connection, link: str) -> State | None:
    """Where a change list stands; None if the directory does not know the link."""
    query = select(tables.change_lists.c.state).where(tables.change_lists.c.link == link)
    found = connection.scalar(query)
    return State(found) if found is not None else None


def put_person(connection: Connection, person: Person) -> None:
    """Store a person in place of what was known, except which address proved undeliverable."""
    fields = {
        "email": person.email,
        "display_name": person.display_name,
        "locale": person.locale,
        "timezone": person.timezone,
        "is_bot": person.is_bot,
        "active": person.active,
    }
    statement = insert(tables.people).values(username=person.username, **fields)
    connection.execute(statement.on_conflict_do_update(index_elements=["username"], set_=fields))


def put_change_list(connection: Connection, change_list: ChangeList, *, state: State = State.OPEN) -> None:
    """
    Store a change list and its reviewers in place of what was known.

    The state is so from now on: events that happened before do not undo it.
    The first statement locks the row, so that of two callers the later one's reviewers stand, unmixed.
    """
    fields = {
        "title": change_list.title,
        "url": change_list.url,
        "repository": change_list.repository,
        "author": change_list.author,
        "state": state,
        "state_at": func.clock_timestamp(),
    }
    statement = insert(tables.change_lists).values(link=change_list.link, **fields)
    kept = {f"first_{fact}": tables.first_known(fact, statement.excluded[fact]) for fact in ("title", "repository")}
    connection.execute(statement.on_conflict_do_update(index_elements=["link"], set_=fields | kept))
    _put_reviewers(connection, change_list)


def mark_undeliverable(connection: Connection, refused: Iterable[Undeliverable]) -> None:
    """
    Remember for each person the address that a relay refused for good; unknown people are passed over.

    Rows are locked in the order of their names, so that two workers with the same people cannot deadlock.
    """
    given = {one.username: one for one in refused}
    columns = [list(given), [one.email for one in given.values()], [one.reply for one in given.values()]]
    marks = (
        func.unnest(*(literal(column, ARRAY(Text)) for column in columns))
        .table_valued("username", "email", "reply")
        .render_derived(name="marks")
    )
    locked = (
        select(tables.people.c.username, marks.c.email, marks.c.reply)
        .join_from(tables.people, marks, tables.people.c.username == marks.c.username)
        .order_by(tables.people.c.username)
        .with_for_update(of=tables.people)
        .cte("locked")
    )
    statement = (
        update(tables.people)
        .where(tables.people.c.username == locked.c.username)
        .values(
            undeliverable_email=locked.c.email,
            undeliverable_at=func.now(),
            undeliverable_reply=locked.c.reply,
        )
    )
    connection.execute(statement)


def undeliverable(connection: Connection, username: str, *, chosen_email: str | None) -> Refusal | None:
    """
    Why letters to this person have stopped; None while their address is not one that was refused for good.

    Args:
        chosen_email: Where the person wants letters; None means the directory's address.
    """
    row = tables.people.c
    address = func.coalesce(literal(chosen_email, Text), row.email)
    found = connection.execute(
        select(row.undeliverable_email, row.undeliverable_at, row.undeliverable_reply).where(
            row.username == username, row.undeliverable_email == address
        )
    ).one_or_none()
    return Refusal(email=found[0], at=found[1], reply=found[2] or None) if found else None


def clear_undeliverable(connection: Connection, username: str) -> bool:
    """Forget which address of the person proved undeliverable, so that it is tried again; False if none did."""
    row = tables.people.c
    statement = update(tables.people).where(row.username == username, row.undeliverable_email.is_not(None))
    forgotten = statement.values(undeliverable_email=None, undeliverable_at=None, undeliverable_reply=None)
    return connection.execute(forgotten).rowcount > 0


def time_zones(connection: Connection) -> Sequence[str]:
    """Every time zone that the directory or a person states. Reads both tables once."""
    return connection.scalars(select(_STATED.c.timezone).distinct().order_by(_STATED.c.timezone)).all()


def people_in(connection: Connection, zones: Sequence[str]) -> int:
    """How many people these time zones are stated for."""
    among = _STATED.c.timezone == any_(literal(list(zones), ARRAY(Text)))
    return connection.scalar(select(func.count(_STATED.c.username.distinct())).where(among)) or 0


def _put_reviewers(connection: Connection, change_list: ChangeList) -> None:
    reviewers = tables.cl_reviewers
    wanted = literal(list(change_list.reviewers), ARRAY(Text))
    gone = delete(reviewers).where(reviewers.c.topic == change_list.link, reviewers.c.username != all_(wanted))
    connection.execute(gone)
    added = select(literal(change_list.link, Text), func.unnest(wanted))
    connection.execute(insert(reviewers).from_select(["topic", "username"], added).on_conflict_do_nothing())


def _change_list(row: RowMapping) -> ChangeList:
    return ChangeList(**{**row, "reviewers": tuple(sorted(row["reviewers"]))})
