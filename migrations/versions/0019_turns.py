"""
Add events_turn.

Phase: add          Locks: events, writes wait while it is read once (what is unfinished is little)
Runs:  before the code that reads it            Undo: drops the index
"""

from alembic import op

revision = "0019"
down_revision = "0018"

TO_BE_DONE = "(status = 'pending' OR status = 'working') AND failures = 0"


def upgrade() -> None:
    """Build the index."""
    op.execute(f"CREATE INDEX events_turn ON notify.events (cl_link, priority, id) WHERE {TO_BE_DONE}")
    serves = "The fan-out asks what is to be done on a change list before an event."
    op.execute(f"COMMENT ON INDEX notify.events_turn IS '{serves}'")


def downgrade() -> None:
    """Drop the index."""
    op.execute("DROP INDEX notify.events_turn")
