"""
Let upkeep keep the tables small: when autovacuum cleans the four that change all the time, and events.emptied_at.

Phase: add          Locks: the four tables, which only other DDL waits for; events, exclusive, no rewrite (a nullable column)
Runs:  before the code that reads it          Undo: autovacuum as the server has it; which events were emptied is forgotten

A letter writes its row three times: it leaves two dead rows, and an entry of each in the index that the claim reads.
At five million rows of history the server's own figures let a million gather before they clean up.

email_jobs, events: 1 % and 10,000 rows: some 60,000 dead at five million, so that the claim's index stays in memory, and no
    clean-up oftener than every 5,000 letters where the table is small. Statistics at 2 %, as what is due changes by the
    minute. The clean-up may use five times the server's usual share of input and output: one that is slower than
    the letters never ends.
email_attempts: rows are only added, and go with their letters: 5 %, so that what upkeep deletes is used again soon.
delivery_stats: each minute's rows are counted up some twenty times a second, and nothing else is read: 1,000 rows, and 70 %
    full pages, so that the new version fits beside the old and no index is touched (HOT).
"""

from alembic import op

revision = "0017"
down_revision = "0016"

OFTEN: dict[str, float] = {
    "autovacuum_vacuum_scale_factor": 0.01,
    "autovacuum_vacuum_threshold": 10_000,
    "autovacuum_analyze_scale_factor": 0.02,
    "autovacuum_vacuum_cost_limit": 1_000,
}
OPTIONS: dict[str, dict[str, float]] = {
    "email_jobs": OFTEN,
    "events": OFTEN,
    "email_attempts": {"autovacuum_vacuum_scale_factor": 0.05},
    "delivery_stats": {"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1_000, "fillfactor": 70},
}
COLUMN = """
    ALTER TABLE notify.events
        ADD COLUMN emptied_at TIMESTAMP WITH TIME ZONE,
        ADD CONSTRAINT events_empty_when_emptied_check CHECK (emptied_at IS NULL OR payload = '{}' AND due_at IS NULL);
    COMMENT ON COLUMN notify.events.emptied_at IS 'When the words it carried were deleted; null: it has them still.';
"""


def upgrade() -> None:
    """Set the options, add the column."""
    for table, options in OPTIONS.items():
        set_to = ", ".join(f"{name} = {value}" for name, value in options.items())
        op.execute(f"ALTER TABLE notify.{table} SET ({set_to})")
    op.execute(COLUMN)


def downgrade() -> None:
    """Drop the column, reset the options."""
    op.execute("ALTER TABLE notify.events DROP COLUMN emptied_at")
    for table, options in OPTIONS.items():
        op.execute(f"ALTER TABLE notify.{table} RESET ({', '.join(options)})")
