"""
Add change_lists.first_title and change_lists.first_repository.

Phase: add          Locks: change_lists, exclusive, no rewrite (nullable columns)
Runs:  before the code that reads them         Undo: drops the columns; subjects follow the present titles

Null means that there has been no other, so that nothing is filled in. A title that the code before changes
is not remembered: its thread gets a new subject once, as it did until now.
"""

from alembic import op

revision = "0023"
down_revision = "0022"

SCHEMA = """
    ALTER TABLE notify.change_lists
        ADD COLUMN first_title TEXT,
        ADD COLUMN first_repository TEXT;
    COMMENT ON COLUMN notify.change_lists.first_title IS 'The first known title, which the subject keeps; null means that there was no other.';
    COMMENT ON COLUMN notify.change_lists.first_repository IS 'The first known repository, which the subject keeps; null means that there was no other.';
"""


def upgrade() -> None:
    """Add the columns."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the columns."""
    op.execute("ALTER TABLE notify.change_lists DROP COLUMN first_title, DROP COLUMN first_repository")
