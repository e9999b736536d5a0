"""
Add api_tokens.last_used_at.

Phase: add          Locks: api_tokens, exclusive, no rewrite (a nullable column)
Runs:  before the code that writes it          Undo: drops the column; when tokens were used is forgotten

Calls that the code before answers are not noted.
"""

from alembic import op

revision = "0016"
down_revision = "0015"

SCHEMA = """
    ALTER TABLE notify.api_tokens ADD COLUMN last_used_at TIMESTAMP WITH TIME ZONE;
    COMMENT ON COLUMN notify.api_tokens.last_used_at IS 'When it last opened something, to the minute; null if it never did.';
"""


def upgrade() -> None:
    """Add the column."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the column."""
    op.execute("ALTER TABLE notify.api_tokens DROP COLUMN last_used_at")
