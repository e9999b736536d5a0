"""
Add email_jobs.relay and email_jobs.sent_in_ms.

Phase: add          Locks: email_jobs, exclusive, no rewrite (nullable columns), one pass for the check
Runs:  before the code that writes them        Undo: drops the columns; which relay took letters, and how fast, is forgotten

Letters that the code before sends have none.
"""

from alembic import op

revision = "0021"
down_revision = "0020"

SCHEMA = """
    ALTER TABLE notify.email_jobs
        ADD COLUMN relay TEXT,
        ADD COLUMN sent_in_ms INTEGER,
        ADD CONSTRAINT email_jobs_sent_in_ms_check CHECK (sent_in_ms >= 0);
    COMMENT ON COLUMN notify.email_jobs.relay IS 'host:port of the relay that took the letter; null unless sent.';
    COMMENT ON COLUMN notify.email_jobs.sent_in_ms IS 'How long the try took that the relay ended with yes, from its first word; null unless sent.';
"""


def upgrade() -> None:
    """Add the columns."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the columns."""
    op.execute("ALTER TABLE notify.email_jobs DROP COLUMN relay, DROP COLUMN sent_in_ms")
