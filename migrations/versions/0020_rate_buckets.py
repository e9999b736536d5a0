"""
Create rate_buckets.

Phase: add          Locks: a new table, nobody waits
Runs:  before the code that reads it           Undo: drops the table; rates begin anew

Workers of the code before know no rates: what they send is not counted until they are replaced.
"""

from alembic import op

revision = "0020"
down_revision = "0019"

SCHEMA = """
    CREATE TABLE notify.rate_buckets (
        bucket TEXT NOT NULL,
        spent_until TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        queued_until TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT rate_buckets_pkey PRIMARY KEY (bucket),
        CONSTRAINT rate_buckets_bucket_check CHECK (bucket LIKE 'relay %' OR bucket LIKE 'domain %')
    );
    COMMENT ON TABLE notify.rate_buckets IS 'How much of a rate is used up, over all workers.';
    COMMENT ON COLUMN notify.rate_buckets.bucket IS 'relay and its host:port, or domain and its name in NOTIFY_DOMAIN_RATES.';
    COMMENT ON COLUMN notify.rate_buckets.spent_until IS 'When it is as if no letter had gone.';
    COMMENT ON COLUMN notify.rate_buckets.queued_until IS 'When the last letter has its turn that was put off.';
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the table."""
    op.execute("DROP TABLE notify.rate_buckets")
