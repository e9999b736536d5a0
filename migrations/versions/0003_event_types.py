"""
Seed the kinds of events.

Phase: fill         Locks: nine rows
Runs:  before the code that emits them          Undo: removes the rows and the choices about them

A row that is already there, perhaps edited by an operator, is left as it is.
"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Insert the rows unless they are there."""
    op.execute("""
        INSERT INTO notify.notification_event_types (code, category, description, system_required, default_enabled)
        VALUES
            ('cl.comment.created', 'Comments', 'Somebody comments on a change list you wrote or review.', false, true),
            ('cl.comment.mentioned', 'Comments', 'Somebody mentions you in a comment or a review.', false, true),
            ('cl.review.requested', 'Reviews', 'Somebody asks you for a review.', false, true),
            ('cl.review.submitted', 'Reviews', 'Somebody reviews a change list you wrote or review.', false, true),
            ('cl.created', 'Change lists', 'Somebody creates a change list that you review.', false, true),
            ('cl.updated', 'Change lists', 'A change list you wrote or review has a new revision.', false, true),
            ('cl.merged', 'Change lists', 'A change list you wrote or review is merged.', false, true),
            ('cl.closed', 'Change lists', 'A change list you wrote or review is closed without being merged.', false, true),
            ('cl.reopened', 'Change lists', 'A change list you wrote or review is opened again.', false, true)
        ON CONFLICT (code) DO NOTHING
    """)


def downgrade() -> None:
    """Remove the rows."""
    op.execute("""
        DELETE FROM notify.notification_event_types
        WHERE code IN (
            'cl.comment.created', 'cl.comment.mentioned', 'cl.review.requested', 'cl.review.submitted',
            'cl.created', 'cl.updated', 'cl.merged', 'cl.closed', 'cl.reopened'
        )
    """)
