"""
Index people by their names, whatever the case and the Unicode form.

Phase: add          Locks: people, no writes while the index is built
Runs:  before the code that looks people up so        Undo: drops the index

Where that is too long, build the index by hand first, with CREATE INDEX CONCURRENTLY and this name: what is
there is taken as it is.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

SCHEMA = """
    CREATE INDEX IF NOT EXISTS people_called ON notify.people (lower(normalize(username)));
    COMMENT ON INDEX notify.people_called IS 'The fan-out looks up people by the name in a mention.';
"""


def upgrade() -> None:
    """Add the index."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the index."""
    op.execute("DROP INDEX notify.people_called")
