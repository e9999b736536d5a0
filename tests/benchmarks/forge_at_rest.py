"""An embedded forge with many open changes, and the mirror of it as a first sweep leaves it."""

from datetime import timedelta
from json import dumps

from sqlalchemy import text

from notify.embedded.forge.records import Pull, Repository
from notify.embedded.forge.state import ForgeState
from notify.store.database import Database

AGE = timedelta(hours=2)
SWEPT_AGE = timedelta(hours=1)

# A first sweep of 20,000 changes reads each with several calls, which takes half an hour and measures the forge.
MIRROR = (
    """
    INSERT INTO notify.forge_repositories (forge, forge_id, full_name, first_swept_at, swept_at, pushed_at,
        branches_read_at)
    SELECT 'github', forge_id, full_name, :swept_at, :swept_at, pushed_at, pushed_at
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given(forge_id bigint, full_name text, pushed_at timestamptz)""",
    """
    INSERT INTO notify.work_items (stage, id, lane) SELECT 'reconcile', id, 2 FROM notify.forge_repositories""",
    """
    INSERT INTO notify.forge_changes (repository_id, number, link, title, url, state, draft, opener, author,
        author_from, head_ref, head_sha, base_ref, base_sha, opened_at, forge_updated_at, synced_at)
    SELECT id, number, full_name || '#' || number, 'Change ' || number, 'http://127.0.0.1/', 'open', false, 'alice',
        'alice', 'opener', 'topic-' || number, repeat('b', 40), 'main', repeat('a', 40), pushed_at, pushed_at, swept_at
    FROM notify.forge_repositories, generate_series(1, :changes) AS number""",
    """
    INSERT INTO notify.forge_branches (repository_id, name, head_sha, state, synced_at)
    SELECT id, name, head_sha, 'open', swept_at
    FROM notify.forge_repositories CROSS JOIN LATERAL (
        SELECT 'main', repeat('a', 40) UNION ALL
        SELECT 'topic-' || number, repeat('b', 40) FROM generate_series(1, :changes) AS number
    ) AS branch(name, head_sha)""",
    "ANALYZE notify.forge_repositories, notify.forge_changes, notify.forge_branches, notify.work_items",
)


def fill(state: ForgeState, *, repositories: int, changes: int) -> None:
    """Make so many repositories with so many open changes each, without telling anybody."""
    with state.lock:
        then = state.now() - AGE
        for one in range(repositories):
            made = state.add_repository(f"acme/repository-{one:04}")
            made.created_at = made.pushed_at = then
            made.branches["main"] = "a" * 40
            for number in range(1, changes + 1):
                made.pulls[number] = _pull(made, number, id_=10_000_000 + one * changes + number)
                made.branches[f"topic-{number}"] = "b" * 40


def _pull(repository: Repository, number: int, *, id_: int) -> Pull:
    return Pull(
        id=id_,
        number=number,
        title=f"Change {number}",
        body="It does what it says. " * 10,
        login="alice",
        head=f"topic-{number}",
        head_sha="b" * 40,
        base="main",
        base_sha="a" * 40,
        draft=False,
        created_at=repository.created_at,
        updated_at=repository.pushed_at,
    )


def mirror(database: Database, state: ForgeState, *, changes: int) -> None:
    """Write what a first sweep would have written, but for the ETag of each listing: the next sweep notes it."""
    rows = [
        {"forge_id": one.id, "full_name": one.full_name, "pushed_at": one.pushed_at.isoformat()}
        for one in state.repositories.values()
    ]
    values = {"rows": dumps(rows), "changes": changes, "swept_at": state.now() - SWEPT_AGE}
    with database.begin() as connection:
        for statement in MIRROR:
            wanted = text(statement)
            connection.execute(wanted, {name: values[name] for name in wanted.compile().params})
