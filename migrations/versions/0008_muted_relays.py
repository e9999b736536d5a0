"""
Add smtp_relays.muted_at and smtp_relays.muted_because.

Phase: add          Locks: smtp_relays, exclusive, no rewrite (nullable columns)
Runs:  before the code that reads them          Undo: drops the columns; relays that are muted are so no more

Workers of the code before do not look at it: a relay counts as muted once they are replaced.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

SCHEMA = """
    ALTER TABLE notify.smtp_relays
        ADD COLUMN muted_at TIMESTAMP WITH TIME ZONE,
        ADD COLUMN muted_because TEXT,
        ADD CONSTRAINT smtp_relays_explained_while_muted_check CHECK (muted_because IS NULL OR muted_at IS NOT NULL),
        ADD CONSTRAINT smtp_relays_muted_because_check CHECK (octet_length(muted_because) <= 1024);
    COMMENT ON COLUMN notify.smtp_relays.muted_at IS 'When somebody muted it: whatever its state, no letter is claimed; null while it is not muted.';
    COMMENT ON COLUMN notify.smtp_relays.muted_because IS 'Why, in their words; null if they gave none.';
"""


def upgrade() -> None:
    """Add the columns."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the columns."""
    op.execute("ALTER TABLE notify.smtp_relays DROP COLUMN muted_because, DROP COLUMN muted_at")
