"""
Create the shared circuit breakers and the counts of outcomes.

Phase: add          Locks: two new tables, nobody waits
Runs:  before the code that reads them          Undo: drops the tables and what is in them
"""

from alembic import op

revision = "0004"
down_revision = "0003"

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
        CONSTRAINT smtp_relays_pkey PRIMARY KEY (relay),
        CONSTRAINT smtp_relays_state_check CHECK (state IN ('closed', 'open')),
        CONSTRAINT smtp_relays_probed_while_open_check CHECK ((state = 'open') = (probe_at IS NOT NULL)),
        CONSTRAINT smtp_relays_last_error_check CHECK (octet_length(last_error) <= 1024)
    );
    COMMENT ON TABLE notify.smtp_relays IS 'Circuit breakers, one for each relay, shared by all workers.';
    COMMENT ON COLUMN notify.smtp_relays.relay IS 'host:port.';
    COMMENT ON COLUMN notify.smtp_relays.state IS 'closed: letters flow; open: none is claimed.';
    COMMENT ON COLUMN notify.smtp_relays.failures IS 'Relay failures in a row, over all workers.';
    COMMENT ON COLUMN notify.smtp_relays.openings IS 'Openings in a row; doubles the wait.';
    COMMENT ON COLUMN notify.smtp_relays.probe_at IS 'When one worker may try again; null while closed.';
    COMMENT ON COLUMN notify.smtp_relays.reason IS 'Why it opened: relay, configuration; null while it never did.';
    COMMENT ON COLUMN notify.smtp_relays.last_error IS 'The relay''s words at the last failure; never a credential.';
    COMMENT ON COLUMN notify.smtp_relays.changed_at IS 'When the state changed last.';

    CREATE TABLE notify.delivery_stats (
        minute TIMESTAMP WITH TIME ZONE NOT NULL,
        worker UUID NOT NULL,
        event_type TEXT NOT NULL,
        outcome TEXT NOT NULL,
        count INTEGER NOT NULL,
        CONSTRAINT delivery_stats_pkey PRIMARY KEY (minute, worker, event_type, outcome),
        CONSTRAINT delivery_stats_count_check CHECK (count > 0)
    );
    COMMENT ON TABLE notify.delivery_stats IS 'Counts of outcomes, written in the transaction that records them.';
    COMMENT ON COLUMN notify.delivery_stats.minute IS 'Start of the minute.';
    COMMENT ON COLUMN notify.delivery_stats.worker IS 'Worker process.';
    COMMENT ON COLUMN notify.delivery_stats.event_type IS 'Event type of the letters.';
    COMMENT ON COLUMN notify.delivery_stats.outcome IS 'sent, retry, dead, …, late_success, duplicate_sent, lease_lost; besides them ambiguous and lapse.';
    COMMENT ON COLUMN notify.delivery_stats.count IS 'How many.';
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE notify.delivery_stats")
    op.execute("DROP TABLE notify.smtp_relays")
