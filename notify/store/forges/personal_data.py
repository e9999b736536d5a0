"""
What webhook deliveries and the mirror of forges keep about one person: export and erasure.

Decided: a change stays under the login that forges use for deleted accounts; so does what our app did for somebody,
    because the next action on that change would otherwise name its author.
Decided: names of repositories, branches and change lists stay, even if they contain a login. They are the forge's, and
    the threads in mailboxes are named after them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from notify.domain.forge import GHOST
from notify.store.directory.erasure import ERASED, ErasedPage
from notify.store.directory.person_names import PersonNames

# The bodies that one statement searches, so that it ends in time.
PAGE_BYTES = 16 * 1024 * 1024

_THEIRS = "(SELECT * FROM unnest(%(forges)s::text[], %(logins)s::text[]))"
_ABOUT: Mapping[str, str] = {
    "identities": "notify.identities AS found WHERE username = %(username)s",
    "unmapped_logins": f"notify.unmapped_logins AS found WHERE (forge, login) IN {_THEIRS}",
    "forge_changes": f"""
        notify.forge_changes AS found JOIN notify.forge_repositories AS repository ON repository.id = repository_id
        WHERE (forge, lower(opener)) IN {_THEIRS} OR (forge, lower(author)) IN {_THEIRS}""",
    "forge_reviewers": f"""
        notify.forge_reviewers AS found JOIN notify.forge_repositories AS repository ON repository.id = repository_id
        WHERE (forge, lower(login)) IN {_THEIRS}""",
    "forge_entries": f"""
        notify.forge_entries AS found WHERE EXISTS (
            SELECT FROM unnest(owners || arbiters || proposed_by || graduated_by) AS named(login)
            WHERE (forge, lower(named.login)) IN {_THEIRS}
        )""",
    "forge_actions": f"""
        notify.forge_actions AS found JOIN notify.forge_repositories AS repository ON repository.id = repository_id
        WHERE (forge, lower(on_behalf_of)) IN {_THEIRS}""",
}
_NAMED = "encode(delivery.body, 'escape') COLLATE \"C\" ~* %(in_bodies)s"
_IS_NAMED = "lower({0}) = ANY (%(logins)s::text[])"
_OTHERS = f"ARRAY(SELECT login FROM unnest({{0}}) AS named(login) WHERE NOT {_IS_NAMED.format('login')})"
_WITHOUT = f"CASE WHEN {_IS_NAMED.format('{0}')} THEN {{1}} ELSE {{0}} END"

_EXPORT_DELIVERIES = f"""
    SELECT id, forge, delivery_id, event, status, repository, created_at, encode(body, 'escape') AS body
    FROM notify.webhook_deliveries AS delivery WHERE id = ANY (%(ids)s::bigint[]) AND {_NAMED} ORDER BY id"""
_REPOSITORIES = f"""
    SELECT id, forge FROM notify.forge_repositories WHERE id IN (
        SELECT found.repository_id FROM {_ABOUT["forge_changes"]}
        UNION SELECT found.repository_id FROM {_ABOUT["forge_reviewers"]}
        UNION SELECT found.repository_id FROM {_ABOUT["forge_actions"]}
    ) ORDER BY id"""
_ERASE_REPOSITORY = f"""
    WITH reviewers AS (
        DELETE FROM notify.forge_reviewers WHERE repository_id = %(id)s AND {_IS_NAMED.format("login")}
    ), actions AS (
        UPDATE notify.forge_actions SET on_behalf_of = '{GHOST}'
        WHERE repository_id = %(id)s AND {_IS_NAMED.format("on_behalf_of")}
    )
    UPDATE notify.forge_changes SET opener = {_WITHOUT.format("opener", f"'{GHOST}'")},
        author = {_WITHOUT.format("author", f"'{GHOST}'")}, description = ''
    WHERE repository_id = %(id)s AND ({_IS_NAMED.format("opener")} OR {_IS_NAMED.format("author")})"""
_ERASE_ENTRIES = f"""
    UPDATE notify.forge_entries SET owners = {_OTHERS.format("owners")}, arbiters = {_OTHERS.format("arbiters")},
        proposed_by = {_WITHOUT.format("proposed_by", "NULL")},
        graduated_by = {_WITHOUT.format("graduated_by", "NULL")}
    WHERE forge = %(forge)s AND EXISTS (
        SELECT FROM unnest(owners || arbiters || proposed_by || graduated_by) AS named(login)
        WHERE {_IS_NAMED.format("login")}
    )"""
_FORGET_MISSED = f"DELETE FROM notify.unmapped_logins WHERE (forge, login) IN {_THEIRS}"
_FORGET_KEYS = f"""
    UPDATE notify.unmapped_logins SET last_event_key = '{ERASED}' WHERE last_event_key ~* %(event_keys)s"""
_FORGET_LOGINS = "DELETE FROM notify.identities WHERE username = %(username)s"
# The size of a body is known without reading it.
_PAGE = """
    SELECT coalesce(array_agg(id), '{}') FROM (
        SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS before FROM (
            SELECT id, octet_length(body) AS bytes FROM notify.webhook_deliveries
            WHERE id > %(after_id)s ORDER BY id LIMIT %(limit)s
        ) AS sized
    ) AS summed WHERE before < %(bytes)s"""
_COUNT_DELIVERIES = f"""
    SELECT count(*) FROM notify.webhook_deliveries AS delivery WHERE id = ANY (%(ids)s::bigint[]) AND {_NAMED}"""
_ERASE_DELIVERIES = f"""
    WITH found AS MATERIALIZED (
        SELECT id FROM notify.webhook_deliveries AS delivery WHERE id = ANY (%(ids)s::bigint[]) AND {_NAMED}
    ), emptied AS (
        UPDATE notify.webhook_deliveries SET body = '', outcome_reason = split_part(outcome_reason, ':', 1),
            event_keys = ARRAY(
                SELECT CASE WHEN key ~* %(event_keys)s THEN '{ERASED}' ELSE key END FROM unnest(event_keys) AS key
            )
        WHERE id = ANY (ARRAY(SELECT id FROM found)) AND status <> 'pending' RETURNING id
    )
    SELECT (SELECT count(*) FROM emptied) AS erased, (SELECT count(*) FROM found) AS found"""


def export(connection: Connection, names: PersonNames) -> dict[str, list[dict[str, Any]]]:
    """Every row of the mirror about the person, by table."""
    return {
        table: [
            dict(row) for row in connection.exec_driver_sql(f"SELECT found.* FROM {about}", _asked(names)).mappings()
        ]
        for table, about in _ABOUT.items()
    }


def remaining(connection: Connection, names: PersonNames) -> Mapping[str, int]:
    """How many rows of the mirror are about the person, by table, where there are any."""
    counts = ", ".join(f"(SELECT count(*) FROM {about}) AS {table}" for table, about in _ABOUT.items())
    found = connection.exec_driver_sql(f"SELECT {counts}", _asked(names)).mappings().one()
    return {table: count for table, count in found.items() if count}


def repositories(connection: Connection, names: PersonNames) -> Sequence[tuple[int, str]]:
    """The repositories in whose mirror the person is, each with its forge."""
    return [(row.id, row.forge) for row in connection.exec_driver_sql(_REPOSITORIES, _asked(names))]


def erase_repository(connection: Connection, names: PersonNames, repository_id: int, *, forge: str) -> None:
    """Take the person's logins and text out of a repository's changes, reviewers and actions."""
    asked = {"id": repository_id, "logins": [login for of, login in names.logins if of == forge]}
    connection.exec_driver_sql(_ERASE_REPOSITORY, asked)


def erase_entries(connection: Connection, names: PersonNames) -> None:
    """Take the person's logins out of entries and the list of logins without a person."""
    asked = _asked(names)
    for forge in {forge for forge, _ in names.logins}:
        logins = [login for of, login in names.logins if of == forge]
        connection.exec_driver_sql(_ERASE_ENTRIES, {"forge": forge, "logins": logins})
    connection.exec_driver_sql(_FORGET_MISSED, asked)
    connection.exec_driver_sql(_FORGET_KEYS, asked)


def forget_logins(connection: Connection, username: str) -> None:
    """Delete whose logins they were. Do this last: a repetition finds the rest by them."""
    connection.exec_driver_sql(_FORGET_LOGINS, {"username": username})


def delivery_page(connection: Connection, *, after_id: int, limit: int) -> Sequence[int]:
    """The next deliveries: at most *limit*, and as many as one statement can search; empty: there are no more."""
    asked = {"after_id": after_id, "limit": limit, "bytes": PAGE_BYTES}
    ids: Sequence[int] = connection.exec_driver_sql(_PAGE, asked).scalar_one()
    return sorted(ids)


def export_deliveries(connection: Connection, names: PersonNames, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Those of these deliveries that name the person; bodies in PostgreSQL's bytea format ``escape``."""
    return [
        dict(row) for row in connection.exec_driver_sql(_EXPORT_DELIVERIES, {**_asked(names), "ids": ids}).mappings()
    ]


def count_deliveries(connection: Connection, names: PersonNames, ids: Sequence[int]) -> int:
    """How many of these deliveries name the person."""
    count: int = connection.exec_driver_sql(_COUNT_DELIVERIES, {**_asked(names), "ids": ids}).scalar_one()
    return count


def erase_deliveries(connection: Connection, names: PersonNames, ids: Sequence[int]) -> ErasedPage:
    """Empty the bodies of those of these deliveries that name the person; pending ones wait."""
    found = connection.exec_driver_sql(_ERASE_DELIVERIES, {**_asked(names), "ids": ids}).mappings().one()
    return ErasedPage(erased=found["erased"], waiting=found["found"] - found["erased"])


def _asked(names: PersonNames) -> dict[str, Any]:
    return {
        "username": names.username,
        "forges": [forge for forge, _ in names.logins],
        "logins": [login for _, login in names.logins],
        "event_keys": names.event_keys,
        "in_bodies": names.in_bodies,
    }
