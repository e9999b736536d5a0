"""
Add events.key_hash.

Phase: add          Locks: events, exclusive, no rewrite (nullable column)
Runs:  before the code that reads and writes it    Undo: drops the column; the same key with another body is taken again

Events that the code before stores have none, and are taken to be the same as any other with their key.
"""

from alembic import op

revision = "0024"
down_revision = "0023"

SCHEMA = """
    ALTER TABLE notify.events ADD COLUMN key_hash JSONB;
    COMMENT ON COLUMN notify.events.key_hash IS 'Digest of each field that the producer stated, to tell the same event from another with its key; null: not known.';
"""


def upgrade() -> None:
    """Add the column."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the column."""
    op.execute("ALTER TABLE notify.events DROP COLUMN key_hash")
