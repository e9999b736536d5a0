"""
Create the counts: of outcomes by minute, their totals, and what single processes count.

Phase: add          Locks: 3 new tables, nobody waits
Runs:  before the code that reads them          Undo: drops the tables and what is in them
"""

from alembic import op

revision = "0006"
down_revision = "0005"

SCHEMA = """
    CREATE TABLE notify.delivery_stats (
        minute TIMESTAMP WITH TIME ZONE NOT NULL,
        worker UUID NOT NULL,
        event_type TEXT NOT NULL,
        outcome TEXT NOT NULL,
        count INTEGER NOT NULL,
        CONSTRAINT delivery_stats_pkey PRIMARY KEY (minute, worker, event_type, outcome),
        CONSTRAINT delivery_stats_count_check CHECK (count > 0)
    ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, fillfactor = 70);
    COMMENT ON TABLE notify.delivery_stats IS 'Counts of outcomes, written in the transaction that records them.';
    COMMENT ON COLUMN notify.delivery_stats.minute IS 'Start of the minute.';
    COMMENT ON COLUMN notify.delivery_stats.worker IS 'Worker process.';
    COMMENT ON COLUMN notify.delivery_stats.event_type IS 'Event type of the emails.';
    COMMENT ON COLUMN notify.delivery_stats.outcome IS 'sent, retry, dead, …, late_success, duplicate_sent, lease_lost, ambiguous, lapse.';
    COMMENT ON COLUMN notify.delivery_stats.count IS 'How many.';

    CREATE TABLE notify.delivery_totals (
        event_type TEXT NOT NULL,
        outcome TEXT NOT NULL,
        count BIGINT NOT NULL,
        until TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT delivery_totals_pkey PRIMARY KEY (event_type, outcome),
        CONSTRAINT delivery_totals_count_check CHECK (count > 0)
    );
    COMMENT ON TABLE notify.delivery_totals IS 'What delivery_stats has counted since the beginning, but for its last minutes.';
    COMMENT ON COLUMN notify.delivery_totals.event_type IS 'Event type of the emails.';
    COMMENT ON COLUMN notify.delivery_totals.outcome IS 'As in delivery_stats.';
    COMMENT ON COLUMN notify.delivery_totals.count IS 'How many; never falls.';
    COMMENT ON COLUMN notify.delivery_totals.until IS 'The latest of all rows: the minutes before it are counted here.';

    CREATE TABLE notify.process_totals (
        process UUID NOT NULL,
        measure TEXT NOT NULL,
        label TEXT NOT NULL,
        count BIGINT NOT NULL,
        seconds DOUBLE PRECISION NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT process_totals_pkey PRIMARY KEY (process, measure, label),
        CONSTRAINT process_totals_count_check CHECK (count > 0),
        CONSTRAINT process_totals_seconds_check CHECK (seconds >= 0)
    );
    COMMENT ON TABLE notify.process_totals IS 'What only a process itself knows, counted since its start.';
    COMMENT ON COLUMN notify.process_totals.process IS 'Process that counted; all zeros: all those that are gone.';
    COMMENT ON COLUMN notify.process_totals.measure IS 'What was counted: doorbell_sent, sweep_found, smtp, to_sent and the like.';
    COMMENT ON COLUMN notify.process_totals.label IS 'Of which kind: a stage, a phase, the upper bound of a bucket in seconds.';
    COMMENT ON COLUMN notify.process_totals.count IS 'How many.';
    COMMENT ON COLUMN notify.process_totals.seconds IS 'How long they took together; 0 where nothing takes time.';
    COMMENT ON COLUMN notify.process_totals.changed_at IS 'When the process added to it last.';
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE notify.process_totals")
    op.execute("DROP TABLE notify.delivery_totals")
    op.execute("DROP TABLE notify.delivery_stats")
