"""
Keep what metrics are made of: delivery_totals, process_totals, events.traceparent, and indexes of the dead and the undeliverable.

Phase: add          Locks: events and email_jobs, writes wait while each is read once (seconds for millions of rows); people, likewise
Runs:  before the code that reads them          Undo: drops what was added; counters begin again at what delivery_stats holds

Code of the version before writes no totals and reads none; what it counts is in delivery_stats, and is added up
before it is pruned.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

SCHEMA = """
    CREATE TABLE notify.delivery_totals (
        event_type TEXT NOT NULL,
        outcome TEXT NOT NULL,
        count BIGINT NOT NULL,
        until TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT delivery_totals_pkey PRIMARY KEY (event_type, outcome),
        CONSTRAINT delivery_totals_count_check CHECK (count > 0)
    );
    COMMENT ON TABLE notify.delivery_totals IS 'What delivery_stats has counted since the beginning, but for its last minutes.';
    COMMENT ON COLUMN notify.delivery_totals.event_type IS 'Event type of the letters.';
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

    ALTER TABLE notify.events
        ADD COLUMN traceparent TEXT,
        ADD CONSTRAINT events_traceparent_check CHECK (octet_length(traceparent) = 55);
    COMMENT ON COLUMN notify.events.traceparent IS 'Trace in which the producer emitted it (W3C Trace Context, version 00); null: in none.';

    CREATE INDEX events_dead ON notify.events (finished_at) WHERE status = 'dead';
    COMMENT ON INDEX notify.events_dead IS 'Metrics ask why events died of late.';
    CREATE INDEX email_jobs_dead ON notify.email_jobs (finished_at) WHERE status = 'dead';
    COMMENT ON INDEX notify.email_jobs_dead IS 'Metrics ask why letters died of late.';
    CREATE INDEX people_undeliverable ON notify.people (username) WHERE undeliverable_email IS NOT NULL;
    COMMENT ON INDEX notify.people_undeliverable IS 'Metrics ask how many addresses are undeliverable.';
"""

UNDO = """
    DROP INDEX notify.people_undeliverable;
    DROP INDEX notify.email_jobs_dead;
    DROP INDEX notify.events_dead;
    ALTER TABLE notify.events DROP COLUMN traceparent;
    DROP TABLE notify.process_totals;
    DROP TABLE notify.delivery_totals;
"""


def upgrade() -> None:
    """Add the tables, the column and the indexes."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop them."""
    op.execute(UNDO)
