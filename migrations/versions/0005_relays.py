"""
Create what workers share about relays: breakers, rates and sessions.

Phase: add          Locks: 3 new tables, nobody waits
Runs:  before the code that reads them          Undo: drops the tables and what is in them
"""

from alembic import op

revision = "0005"
down_revision = "0004"

SCHEMA = """
    CREATE TABLE notify.smtp_relays (
        relay TEXT NOT NULL,
        state TEXT DEFAULT 'closed' NOT NULL,
        failures INTEGER DEFAULT 0 NOT NULL,
        openings INTEGER DEFAULT 0 NOT NULL,
        probe_at TIMESTAMP WITH TIME ZONE,
        reason TEXT,
        last_error TEXT,
        changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        muted_at TIMESTAMP WITH TIME ZONE,
        muted_because TEXT,
        suspects TEXT[] DEFAULT '{}' NOT NULL,
        CONSTRAINT smtp_relays_pkey PRIMARY KEY (relay),
        CONSTRAINT smtp_relays_state_check CHECK (state IN ('closed', 'open')),
        CONSTRAINT smtp_relays_probed_while_open_check CHECK ((state = 'open') = (probe_at IS NOT NULL)),
        CONSTRAINT smtp_relays_last_error_check CHECK (octet_length(last_error) <= 1024),
        CONSTRAINT smtp_relays_explained_while_muted_check CHECK (muted_because IS NULL OR muted_at IS NOT NULL),
        CONSTRAINT smtp_relays_muted_because_check CHECK (octet_length(muted_because) <= 1024)
    );
    COMMENT ON TABLE notify.smtp_relays IS 'Circuit breakers, one for each relay, shared by all workers.';
    COMMENT ON COLUMN notify.smtp_relays.relay IS 'host:port.';
    COMMENT ON COLUMN notify.smtp_relays.state IS 'closed: emails flow; open: none is claimed.';
    COMMENT ON COLUMN notify.smtp_relays.failures IS 'Relay failures in a row, over all workers.';
    COMMENT ON COLUMN notify.smtp_relays.openings IS 'Openings in a row; doubles the wait.';
    COMMENT ON COLUMN notify.smtp_relays.probe_at IS 'When one worker may try again; null while closed.';
    COMMENT ON COLUMN notify.smtp_relays.reason IS 'Why it opened: relay, configuration; null while it never did.';
    COMMENT ON COLUMN notify.smtp_relays.last_error IS 'The relay''s words at the last failure; never a credential.';
    COMMENT ON COLUMN notify.smtp_relays.changed_at IS 'When the state changed last.';
    COMMENT ON COLUMN notify.smtp_relays.muted_at IS 'When somebody muted it: nothing is claimed; null while it is not muted.';
    COMMENT ON COLUMN notify.smtp_relays.muted_because IS 'Why, in their words; null if they gave none.';
    COMMENT ON COLUMN notify.smtp_relays.suspects IS 'Digests of the recipients refused for policy since the last success.';

    CREATE TABLE notify.rate_buckets (
        bucket TEXT NOT NULL,
        spent_until TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        queued_until TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT rate_buckets_pkey PRIMARY KEY (bucket),
        CONSTRAINT rate_buckets_bucket_check CHECK (bucket LIKE 'relay %' OR bucket LIKE 'domain %')
    );
    COMMENT ON TABLE notify.rate_buckets IS 'How much of a rate is used up, over all workers.';
    COMMENT ON COLUMN notify.rate_buckets.bucket IS 'relay and its host:port, or domain and its name in NOTIFY_DOMAIN_RATES.';
    COMMENT ON COLUMN notify.rate_buckets.spent_until IS 'When it is as if no email had gone.';
    COMMENT ON COLUMN notify.rate_buckets.queued_until IS 'When the last email has its turn that was put off.';

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
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE notify.relay_shares")
    op.execute("DROP TABLE notify.rate_buckets")
    op.execute("DROP TABLE notify.smtp_relays")
