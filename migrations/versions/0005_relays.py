"""
Create what workers share about relays: breakers, rates and sessions.

Phase: add          Locks: 3 new tables, nobody waits
Runs:  before the code that reads them          Undo: drops the tables and what is in them
"""

from alembic import op

revision = "0005"
down_revision = "0004"

SCHEMA = """
    CREATE TABLE notify.endpoints (
        endpoint TEXT NOT NULL,
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
        CONSTRAINT endpoints_pkey PRIMARY KEY (endpoint),
        CONSTRAINT endpoints_state_check CHECK (state IN ('closed', 'open')),
        CONSTRAINT endpoints_probed_while_open_check CHECK ((state = 'open') = (probe_at IS NOT NULL)),
        CONSTRAINT endpoints_last_error_check CHECK (octet_length(last_error) <= 1024),
        CONSTRAINT endpoints_explained_while_muted_check CHECK (muted_because IS NULL OR muted_at IS NOT NULL),
        CONSTRAINT endpoints_muted_because_check CHECK (octet_length(muted_because) <= 1024)
    );
    COMMENT ON TABLE notify.endpoints IS 'One circuit breaker per relay or forge, shared by all workers.';
    COMMENT ON COLUMN notify.endpoints.endpoint IS 'host:port of a relay, or forge and its name.';
    COMMENT ON COLUMN notify.endpoints.state IS 'closed: emails are sent; open: none is claimed.';
    COMMENT ON COLUMN notify.endpoints.failures IS 'Consecutive relay failures, counted across all workers.';
    COMMENT ON COLUMN notify.endpoints.openings IS 'Openings without a success in between; each doubles the wait.';
    COMMENT ON COLUMN notify.endpoints.probe_at IS 'When one worker may probe the relay; null while closed.';
    COMMENT ON COLUMN notify.endpoints.reason IS 'relay, configuration or throttle, then why; null: it never failed.';
    COMMENT ON COLUMN notify.endpoints.last_error IS 'The relay''s reply to the last failure; never contains a credential.';
    COMMENT ON COLUMN notify.endpoints.changed_at IS 'When the state last changed.';
    COMMENT ON COLUMN notify.endpoints.muted_at IS 'When an operator muted it: nothing is claimed; null: not muted.';
    COMMENT ON COLUMN notify.endpoints.muted_because IS 'The operator''s reason; null: none was given.';
    COMMENT ON COLUMN notify.endpoints.suspects IS 'Hashes of recipients refused for policy since the last success.';

    CREATE TABLE notify.rate_buckets (
        bucket TEXT NOT NULL,
        spent_until TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        queued_until TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT rate_buckets_pkey PRIMARY KEY (bucket),
        CONSTRAINT rate_buckets_bucket_check CHECK (bucket LIKE 'relay %' OR bucket LIKE 'domain %')
    );
    COMMENT ON TABLE notify.rate_buckets IS 'One token bucket per limited relay or domain, shared by all workers.';
    COMMENT ON COLUMN notify.rate_buckets.bucket IS '''relay HOST:PORT'', or ''domain NAME'' with a name from NOTIFY_DOMAIN_RATES.';
    COMMENT ON COLUMN notify.rate_buckets.spent_until IS 'When the bucket is full again.';
    COMMENT ON COLUMN notify.rate_buckets.queued_until IS 'When the last of the postponed emails is due.';

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
    COMMENT ON TABLE notify.relay_shares IS 'How the sessions that all workers together may open with a relay are shared among worker processes.';
    COMMENT ON COLUMN notify.relay_shares.relay IS 'host:port.';
    COMMENT ON COLUMN notify.relay_shares.worker IS 'Worker process.';
    COMMENT ON COLUMN notify.relay_shares.wanted IS 'How many sessions it could use.';
    COMMENT ON COLUMN notify.relay_shares.sessions IS 'How many sessions it may open; 0: it waits for other workers to give up theirs.';
    COMMENT ON COLUMN notify.relay_shares.until IS 'When the share ends unless it is renewed.';
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE notify.relay_shares")
    op.execute("DROP TABLE notify.rate_buckets")
    op.execute("DROP TABLE notify.endpoints")
