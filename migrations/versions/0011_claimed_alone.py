"""
Replace events_lapsed and email_jobs_lapsed by events_alone and email_jobs_alone.

Phase: add          Locks: events and email_jobs, writes wait while each is read once (seconds for millions of rows)
Runs:  before the code that reads them          Undo: builds the old ones again and drops the new

The new ones hold what the old ones held, so they serve the code before as well, and besides it the rows that wait
and whose lease has run out in an earlier try. Not built concurrently: that would wait for a second run of the
migrations, which waits for this one.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

TABLES = {"events": ("working", "fan-out", "events"), "email_jobs": ("sending", "delivery", "letters")}


def upgrade() -> None:
    """Build the new indexes, then drop the old."""
    for table, (held, stage, rows) in TABLES.items():
        _replace(
            f"{table}_lapsed",
            by=f"{table}_alone",
            on=f"{table} (due_at) WHERE due_at IS NOT NULL AND (status = '{held}' OR lapses > 0)",
            serves=f"The {stage} finds {rows} of which some worker vanished.",
        )


def downgrade() -> None:
    """Build the old indexes, then drop the new."""
    for table, (held, stage, rows) in TABLES.items():
        _replace(
            f"{table}_alone",
            by=f"{table}_lapsed",
            on=f"{table} (due_at) WHERE status = '{held}'",
            serves=f"The {stage} finds {rows} whose worker vanished.",
        )


def _replace(old: str, *, by: str, on: str, serves: str) -> None:
    op.execute(f"CREATE INDEX {by} ON notify.{on}")
    op.execute(f"COMMENT ON INDEX notify.{by} IS '{serves}'")
    op.execute(f"DROP INDEX notify.{old}")
