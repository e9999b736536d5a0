"""
Add email_attempts.took_ms.

Phase: add          Locks: email_attempts, exclusive, no rewrite (a nullable column)
Runs:  before the code that writes it          Undo: drops the column; how long tries took is forgotten

Tries that the code before records have none.
"""

from alembic import op

revision = "0018"
down_revision = "0017"

SCHEMA = """
    ALTER TABLE notify.email_attempts
        ADD COLUMN took_ms INTEGER,
        ADD CONSTRAINT email_attempts_took_ms_check CHECK (took_ms >= 0);
    COMMENT ON COLUMN notify.email_attempts.took_ms IS 'How long the try took, from its first word to its end; null if no letter was written.';
"""


def upgrade() -> None:
    """Add the column."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the column."""
    op.execute("ALTER TABLE notify.email_attempts DROP COLUMN took_ms")
