"""
Add events_turn and events_taken.

Phase: add          Locks: events, writes wait while it is read twice (what is unfinished is little)
Runs:  before the code that reads them          Undo: drops the indexes
"""

from alembic import op

revision = "0019"
down_revision = "0018"

TO_BE_DONE = "(status = 'pending' OR status = 'working') AND failures = 0"
INDEXES = {
    "events_turn": (
        f"(cl_link, priority, id) WHERE {TO_BE_DONE}",
        "The fan-out asks what is to be done on a change list before an event.",
    ),
    "events_taken": (
        "(cl_link, priority) WHERE status = 'working'",
        "The fan-out asks on which change lists another works.",
    ),
}


def upgrade() -> None:
    """Build the indexes."""
    for name, (rows, serves) in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON notify.events {rows}")
        op.execute(f"COMMENT ON INDEX notify.{name} IS '{serves}'")


def downgrade() -> None:
    """Drop the indexes."""
    for name in INDEXES:
        op.execute(f"DROP INDEX notify.{name}")
