"""
Tell operators of forges that cannot be read and of statuses that cannot be shown.

Phase: add          Locks: forges, exclusive, no rewrite (columns that may be null); two new rows
Runs:  before the code that reads them          Undo: removes the rows, the preferences about them, and the columns
"""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Insert the rows unless they are there, and add the columns."""
    op.execute("""
        INSERT INTO notify.notification_event_types
            (code, category, description, system_required, default_enabled, bundle_within)
        VALUES
            ('source.sync.failing', 'Operators', 'A forge cannot be read.', true, true, NULL),
            ('status.dead', 'Operators', 'A status cannot be shown on its commit.', true, true, interval '10 minutes')
        ON CONFLICT (code) DO NOTHING
    """)
    op.execute("""
        ALTER TABLE notify.forges ADD COLUMN fault_at TIMESTAMP WITH TIME ZONE,
            ADD COLUMN failing_since TIMESTAMP WITH TIME ZONE;
        COMMENT ON COLUMN notify.forges.fault_at IS 'When the first of the listings failed that have failed since the last complete one; null: none has.';
        COMMENT ON COLUMN notify.forges.failing_since IS 'It has not been read completely since then, which operators have been told; null: it is read in time.';
        COMMENT ON COLUMN notify.events.topic IS 'What it is about: a change list, by its link, or another topic such as forge:NAME.';
        COMMENT ON COLUMN notify.events.actor IS 'Username of the person who did it; notify: notify itself found it.';
        COMMENT ON COLUMN notify.email_jobs.topic IS 'What it is about, such as a change list; null: a digest, or whatever else was deferred until the same time.';
    """)


def downgrade() -> None:
    """Remove the rows and the columns."""
    op.execute("""
        COMMENT ON COLUMN notify.email_jobs.topic IS 'The change list; null: a digest, or whatever else was deferred until the same time.';
        COMMENT ON COLUMN notify.events.actor IS 'Username of the person who did it.';
        COMMENT ON COLUMN notify.events.topic IS 'The change list, by its link.';
        ALTER TABLE notify.forges DROP COLUMN fault_at, DROP COLUMN failing_since
    """)
    op.execute("DELETE FROM notify.notification_event_types WHERE code IN ('source.sync.failing', 'status.dead')")
