"""
Let tokens have the scope statuses:write.

Phase: add          Locks: api_tokens, exclusive, one pass over its few rows
Runs:  before the code that makes such tokens   Undo: deletes them, or takes the scope from those that have others
"""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Replace the check by one that allows one scope more."""
    op.execute("""
        ALTER TABLE notify.api_tokens DROP CONSTRAINT api_tokens_scopes_check,
            ADD CONSTRAINT api_tokens_scopes_check CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['events:write', 'directory:write', 'statuses:write', 'ops']);
        COMMENT ON COLUMN notify.api_tokens.scopes IS 'What it allows: events:write, directory:write, statuses:write, ops.';
    """)


def downgrade() -> None:
    """Delete tokens that have no other scope, take it from the rest, and replace the check."""
    op.execute("DELETE FROM notify.api_tokens WHERE scopes = ARRAY['statuses:write']")
    op.execute("UPDATE notify.api_tokens SET scopes = array_remove(scopes, 'statuses:write')")
    op.execute("""
        ALTER TABLE notify.api_tokens DROP CONSTRAINT api_tokens_scopes_check,
            ADD CONSTRAINT api_tokens_scopes_check CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['events:write', 'directory:write', 'ops']);
        COMMENT ON COLUMN notify.api_tokens.scopes IS 'What it allows: events:write, directory:write, ops.';
    """)
