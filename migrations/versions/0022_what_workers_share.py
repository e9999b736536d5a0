"""
Add smtp_relays.suspects and create relay_shares.

Phase: add          Locks: smtp_relays, exclusive, no rewrite (constant default); a new table, nobody waits
Runs:  before the code that reads them         Undo: drops both; whom a relay refused for policy is forgotten

Workers of the code before share no sessions: theirs are not counted until they are replaced.
"""

from alembic import op

revision = "0022"
down_revision = "0021"

SCHEMA = """
    ALTER TABLE notify.smtp_relays ADD COLUMN suspects TEXT[] DEFAULT '{}' NOT NULL;
    COMMENT ON COLUMN notify.smtp_relays.suspects IS 'Digests of the recipients refused for policy since the relay took an email last; three say that it is about us.';
    CREATE TABLE notify.relay_shares (
        relay TEXT NOT NULL,
        worker UUID NOT NULL,
        wanted INTEGER NOT NULL,
        sessions INTEGER NOT NULL,
        until TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT relay_shares_pkey PRIMARY KEY (relay, worker),
        CONSTRAINT relay_shares_wanted_check CHECK (wanted > 0),
        CONSTRAINT relay_shares_sessions_check CHECK (sessions >= 0)
    );
    COMMENT ON TABLE notify.relay_shares IS 'How many of the sessions that all workers may have with a relay each worker process has.';
    COMMENT ON COLUMN notify.relay_shares.relay IS 'host:port.';
    COMMENT ON COLUMN notify.relay_shares.worker IS 'Worker process.';
    COMMENT ON COLUMN notify.relay_shares.wanted IS 'How many it has a use for.';
    COMMENT ON COLUMN notify.relay_shares.sessions IS 'How many it may have, 0: it waits for others to give up theirs.';
    COMMENT ON COLUMN notify.relay_shares.until IS 'When they are free again if it asks for no more time.';
"""


def upgrade() -> None:
    """Add the column and create the table."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop both."""
    op.execute("ALTER TABLE notify.smtp_relays DROP COLUMN suspects")
    op.execute("DROP TABLE notify.relay_shares")
