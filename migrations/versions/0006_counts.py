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
    COMMENT ON TABLE notify.delivery_stats IS 'Outcomes per minute and worker, counted in the transaction that records them.';
    COMMENT ON COLUMN notify.delivery_stats.minute IS 'The minute, by its start.';
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
    COMMENT ON TABLE notify.delivery_totals IS 'Running totals of delivery_stats, except for its most recent minutes.';
    COMMENT ON COLUMN notify.delivery_totals.event_type IS 'Event type of the emails.';
    COMMENT ON COLUMN notify.delivery_totals.outcome IS 'As in delivery_stats.';
    COMMENT ON COLUMN notify.delivery_totals.count IS 'How many; never decreases.';
    COMMENT ON COLUMN notify.delivery_totals.until IS 'The maximum over all rows says how far delivery_stats is included here.';

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
    COMMENT ON TABLE notify.process_totals IS 'Counters of each process that no other table has, such as doorbells and SMTP times.';
    COMMENT ON COLUMN notify.process_totals.process IS 'The process; all zeros: the sum of all processes that are gone.';
    COMMENT ON COLUMN notify.process_totals.measure IS 'What is counted, such as doorbell_sent, sweep_found, smtp or to_sent.';
    COMMENT ON COLUMN notify.process_totals.label IS 'A stage, an SMTP phase, or a histogram bucket''s upper bound in seconds.';
    COMMENT ON COLUMN notify.process_totals.count IS 'How many.';
    COMMENT ON COLUMN notify.process_totals.seconds IS 'Total duration; 0 where the measure has none.';
    COMMENT ON COLUMN notify.process_totals.changed_at IS 'When the process last added to it.';
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE notify.process_totals")
    op.execute("DROP TABLE notify.delivery_totals")
    op.execute("DROP TABLE notify.delivery_stats")
