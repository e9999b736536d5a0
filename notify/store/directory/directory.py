"""The directory: people and their addresses, change lists, authors and reviewers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from json import dumps
from typing import Any

from sqlalchemy import (
    Connection,
    RowMapping,
    Text,
    all_,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from notify.domain.events import ChangeList
from notify.domain.preferences import Person
from notify.store.tables import people as tables
from notify.store.tables.emails import notifications
from notify.store.tables.people import first_known

PERSON_COLUMNS = ("email", "display_name", "locale", "timezone", "is_bot", "active")
_STATED_ZONES = """(
    SELECT username, timezone FROM notify.people UNION ALL
    SELECT username, timezone FROM notify.user_notification_settings
) AS stated"""


class State(StrEnum):
    """The state of a change list."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class RefusedAddress:
    """An address that a relay refused for good, and the relay's reply."""

    username: str
    email: str
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRefusal:
    """When a relay refused a person's address for good, and its reply; None: it gave none."""

    email: str
    at: datetime
    reply: str | None


# Tables with an index on username.
_PERSON_TABLES = (
    tables.people,
    tables.user_notification_settings,
    tables.user_notification_preferences,
    tables.topic_preferences,
    notifications,
)

_PEOPLE = f"""
    SELECT {", ".join(Person.__slots__)} FROM notify.people WHERE username = ANY (%(names)s::text[])"""
CHANGE_LIST = tuple(name for name in ChangeList.__slots__ if name not in ("reviewers", "owners"))
CHANGE_LISTS = f"""
        SELECT {", ".join(CHANGE_LIST)}, ARRAY(
            SELECT username FROM notify.cl_reviewers WHERE topic = link ORDER BY username
        ) AS reviewers, ARRAY(SELECT username FROM notify.cl_owners WHERE topic = link ORDER BY username) AS owners
        FROM notify.change_lists WHERE link = ANY (%(topics)s::text[])"""
_PUT_CHANGE_LIST = text(f"""
    INSERT INTO notify.change_lists AS known (link, title, url, repository, author, state, state_at)
    VALUES (:link, :title, :url, :repository, :author, :state, clock_timestamp())
    ON CONFLICT (link) DO UPDATE SET
        title = excluded.title, url = excluded.url, repository = excluded.repository, author = excluded.author,
        state = excluded.state, state_at = excluded.state_at,
        first_title = {first_known("title", "excluded.title")},
        first_repository = {first_known("repository", "excluded.repository")}""")
# Rows are locked in the order of usernames, so that two workers cannot deadlock.
_MARK_UNDELIVERABLE = """
    WITH locked AS MATERIALIZED (
        SELECT username, refused.email, refused.reply
        FROM jsonb_to_recordset(%(refused)s::jsonb) AS refused(username text, email text, reply text)
        JOIN notify.people AS person USING (username)
        ORDER BY username FOR UPDATE OF person
    )
    UPDATE notify.people AS person
    SET undeliverable_email = locked.email, undeliverable_at = now(), undeliverable_reply = locked.reply
    FROM locked WHERE person.username = locked.username"""


def people(connection: Connection, usernames: Iterable[str]) -> dict[str, Person]:
    """The people with these usernames, by username; unknown ones are absent."""
    rows = connection.exec_driver_sql(_PEOPLE, {"names": list(usernames)})
    return {row["username"]: Person(**row) for row in rows.mappings()}


def person(connection: Connection, username: str) -> Person | None:
    """One person; None: unknown."""
    return people(connection, [username]).get(username)


def is_known(connection: Connection, username: str) -> bool:
    """Whether anything is stored about the person: in the directory, preferences or notifications."""
    own = (exists().where(table.c.username == username) for table in _PERSON_TABLES)
    return bool(connection.scalar(select(or_(*own))))


def change_lists(connection: Connection, links: Iterable[str]) -> dict[str, ChangeList]:
    """The change lists with these links, by link, reviewers sorted; unknown ones are absent."""
    rows = connection.exec_driver_sql(CHANGE_LISTS, {"topics": list(links)})
    return {row["link"]: change_list_of(row) for row in rows.mappings()}


def change_list(connection: Connection, link: str) -> ChangeList | None:
    """One change list; None: unknown."""
    return change_lists(connection, [link]).get(link)


def state(connection: Connection, link: str) -> State | None:
    """The state of a change list; None: unknown."""
    query = select(tables.change_lists.c.state).where(tables.change_lists.c.link == link)
    found = connection.scalar(query)
    return State(found) if found is not None else None


def put_person(connection: Connection, person: Person) -> None:
    """Create or replace a person, keeping the record of an undeliverable address."""
    fields = {name: getattr(person, name) for name in PERSON_COLUMNS}
    statement = insert(tables.people).values(username=person.username, **fields)
    connection.execute(statement.on_conflict_do_update(index_elements=["username"], set_=fields))


def put_change_list(connection: Connection, change_list: ChangeList, *, state: State = State.OPEN) -> None:
    """
    Create or replace a change list and its reviewers.

    The state counts from now: earlier events do not undo it. The first statement locks the row, so that two
    callers' reviewers are not mixed.
    """
    fields = {name: getattr(change_list, name) for name in ("link", "title", "url", "repository", "author")}
    connection.execute(_PUT_CHANGE_LIST, {**fields, "state": state})
    _put_reviewers(connection, change_list)


def mark_undeliverable(connection: Connection, refused: Iterable[RefusedAddress]) -> None:
    """Store for each person the address that a relay refused for good; unknown people are ignored."""
    given = {one.username: asdict(one) for one in refused}
    connection.exec_driver_sql(_MARK_UNDELIVERABLE, {"refused": dumps(list(given.values()))})


def undeliverable(connection: Connection, username: str, *, chosen_email: str | None) -> AddressRefusal | None:
    """
    Why emails to this person have stopped; None: their present address was not refused.

    Args:
        chosen_email: The address from their preferences; None: the directory's applies.
    """
    row = tables.people.c
    address = func.coalesce(literal(chosen_email, Text), row.email)
    found = connection.execute(
        select(row.undeliverable_email, row.undeliverable_at, row.undeliverable_reply).where(
            row.username == username, row.undeliverable_email == address
        )
    ).one_or_none()
    return AddressRefusal(email=found[0], at=found[1], reply=found[2] or None) if found else None


def clear_undeliverable(connection: Connection, username: str) -> bool:
    """Forget the person's undeliverable address, so that emails go there again; False: there was none."""
    row = tables.people.c
    statement = update(tables.people).where(row.username == username, row.undeliverable_email.is_not(None))
    forgotten = statement.values(undeliverable_email=None, undeliverable_at=None, undeliverable_reply=None)
    return connection.execute(forgotten).rowcount > 0


def time_zones(connection: Connection) -> Sequence[str]:
    """Every time zone in the directory or in preferences. Reads both tables fully."""
    statement = f"SELECT DISTINCT timezone FROM {_STATED_ZONES} WHERE timezone IS NOT NULL ORDER BY timezone"
    return connection.exec_driver_sql(statement).scalars().all()


def people_in(connection: Connection, zones: Sequence[str]) -> int:
    """How many people have one of these time zones."""
    statement = f"SELECT count(DISTINCT username) FROM {_STATED_ZONES} WHERE timezone = ANY (%(zones)s::text[])"
    count: int = connection.exec_driver_sql(statement, {"zones": list(zones)}).scalar_one()
    return count


def _put_reviewers(connection: Connection, change_list: ChangeList) -> None:
    reviewers = tables.cl_reviewers
    wanted = literal(list(change_list.reviewers), ARRAY(Text))
    connection.execute(
        delete(reviewers).where(reviewers.c.topic == change_list.link, reviewers.c.username != all_(wanted))
    )
    added = select(literal(change_list.link, Text), func.unnest(wanted))
    connection.execute(insert(reviewers).from_select(["topic", "username"], added).on_conflict_do_nothing())


def change_list_of(row: Mapping[str, Any] | RowMapping) -> ChangeList:
    """The change list in a row of ``CHANGE_LISTS``."""
    return ChangeList(**{**row, "reviewers": tuple(row["reviewers"]), "owners": tuple(row["owners"])})
