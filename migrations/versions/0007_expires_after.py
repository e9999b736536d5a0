"""
Add notification_event_types.expires_after.

Phase: add          Locks: notification_event_types, exclusive, no rewrite (constant default)
Runs:  before the code that reads it            Undo: drops the column; letters expire after 72 hours again
"""

from alembic import op

revision = "0007"
down_revision = "0006"

SCHEMA = """
    ALTER TABLE notify.notification_event_types
        ADD COLUMN expires_after INTERVAL DEFAULT '72 hours' NOT NULL,
        ADD CONSTRAINT notification_event_types_expires_after_check CHECK (expires_after > interval '0');
    COMMENT ON COLUMN notify.notification_event_types.expires_after IS 'How long after it is written a letter of this type is worth sending.';
"""


def upgrade() -> None:
    """Add the column."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the column."""
    op.execute("ALTER TABLE notify.notification_event_types DROP COLUMN expires_after")
