"""
Seed the event type cl.comment.created.

Phase: fill         Locks: one row
Runs:  before the code that emits it            Undo: removes the row and the choices about it

A row that is already there, perhaps edited by an operator, is left as it is.
"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Insert the row unless it is there."""
    op.execute("""
        INSERT INTO notify.notification_event_types (code, category, description, system_required, default_enabled)
        VALUES ('cl.comment.created', 'Comments', 'Somebody comments on a change list you wrote or review.', false, true)
        ON CONFLICT (code) DO NOTHING
    """)


def downgrade() -> None:
    """Remove the row."""
    op.execute("DELETE FROM notify.notification_event_types WHERE code = 'cl.comment.created'")
