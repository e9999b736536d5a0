"""
Create the bearer tokens of programs.

Phase: add          Locks: 1 new table, nobody waits
Runs:  before the code that reads them          Undo: drops the table and what is in them
"""

from alembic import op

revision = "0007"
down_revision = "0006"

SCHEMA = """
    CREATE TABLE notify.api_tokens (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        name TEXT NOT NULL,
        token_hash TEXT NOT NULL,
        scopes TEXT[] NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        revoked_at TIMESTAMP WITH TIME ZONE,
        last_used_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT api_tokens_pkey PRIMARY KEY (id),
        CONSTRAINT api_tokens_token_hash_key UNIQUE (token_hash),
        CONSTRAINT api_tokens_scopes_check CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['events:write', 'directory:write', 'ops'])
    );
    COMMENT ON TABLE notify.api_tokens IS 'Bearer tokens of programs.';
    COMMENT ON COLUMN notify.api_tokens.id IS 'Id; rises with time.';
    COMMENT ON COLUMN notify.api_tokens.name IS 'What the token is for.';
    COMMENT ON COLUMN notify.api_tokens.token_hash IS 'SHA-256 of the token in hex; the token itself is never stored.';
    COMMENT ON COLUMN notify.api_tokens.scopes IS 'What it allows: events:write, directory:write, ops.';
    COMMENT ON COLUMN notify.api_tokens.created_at IS 'When it was created.';
    COMMENT ON COLUMN notify.api_tokens.revoked_at IS 'When it was revoked; null: valid.';
    COMMENT ON COLUMN notify.api_tokens.last_used_at IS 'When it was last used, to the minute; null: never.';
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the table."""
    op.execute("DROP TABLE notify.api_tokens")
