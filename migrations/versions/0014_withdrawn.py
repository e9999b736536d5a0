"""
Let events, emails and notifications be withdrawn.

Phase: add          Locks: events, email_jobs, notifications, exclusive, no scan (checks that are not yet valid)
Runs:  before the code that withdraws           Undo: makes what was withdrawn done, cancelled or skipped
"""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Replace the checks by ones that allow one more value; 0015 validates them."""
    op.execute("""
        ALTER TABLE notify.events DROP CONSTRAINT events_status_check, DROP CONSTRAINT events_finished_when_final_check,
            ADD CONSTRAINT events_status_check CHECK (status IN ('pending', 'done', 'dead', 'withdrawn')) NOT VALID,
            ADD CONSTRAINT events_finished_when_final_check CHECK ((finished_at IS NOT NULL) = (status IN ('done', 'dead', 'withdrawn'))) NOT VALID;
        ALTER TABLE notify.email_jobs DROP CONSTRAINT email_jobs_status_check,
            ADD CONSTRAINT email_jobs_status_check CHECK (status IN ('pending', 'sent', 'skipped', 'dead', 'expired', 'cancelled', 'withdrawn')) NOT VALID;
        ALTER TABLE notify.notifications DROP CONSTRAINT notifications_decision_check,
            ADD CONSTRAINT notifications_decision_check CHECK (decision IN ('told', 'skipped', 'withdrawn')) NOT VALID;
        COMMENT ON COLUMN notify.events.status IS 'pending, done, dead or withdrawn; leases are in work_items.';
        COMMENT ON COLUMN notify.events.finished_at IS 'When it was fanned out, died or was withdrawn; null: pending.';
        COMMENT ON TABLE notify.notifications IS 'One row for each event and person it concerns: told, skipped or withdrawn, and why.';
        COMMENT ON COLUMN notify.notifications.decision IS 'told: the email in email_job_id includes it; skipped; or withdrawn from its email.';
        COMMENT ON COLUMN notify.notifications.email_job_id IS 'The email that includes it; null: skipped or withdrawn.';
    """)


def downgrade() -> None:
    """Give what was withdrawn another final value, and put the old checks back."""
    op.execute("UPDATE notify.events SET status = 'done' WHERE status = 'withdrawn'")
    op.execute(
        "UPDATE notify.email_jobs SET status = 'cancelled', outcome_reason = 'withdrawn' WHERE status = 'withdrawn'"
    )
    op.execute("UPDATE notify.notifications SET decision = 'skipped' WHERE decision = 'withdrawn'")
    op.execute("""
        ALTER TABLE notify.events DROP CONSTRAINT events_status_check, DROP CONSTRAINT events_finished_when_final_check,
            ADD CONSTRAINT events_status_check CHECK (status IN ('pending', 'done', 'dead')),
            ADD CONSTRAINT events_finished_when_final_check CHECK ((finished_at IS NOT NULL) = (status IN ('done', 'dead')));
        ALTER TABLE notify.email_jobs DROP CONSTRAINT email_jobs_status_check,
            ADD CONSTRAINT email_jobs_status_check CHECK (status IN ('pending', 'sent', 'skipped', 'dead', 'expired', 'cancelled'));
        ALTER TABLE notify.notifications DROP CONSTRAINT notifications_decision_check,
            ADD CONSTRAINT notifications_decision_check CHECK (decision IN ('told', 'skipped'));
        COMMENT ON COLUMN notify.events.status IS 'pending, done or dead; leases are in work_items.';
        COMMENT ON COLUMN notify.events.finished_at IS 'When it was fanned out or died; null: pending.';
        COMMENT ON TABLE notify.notifications IS 'One row for each event and person it concerns: told or skipped, and why.';
        COMMENT ON COLUMN notify.notifications.decision IS 'told: the email in email_job_id includes it; or skipped.';
        COMMENT ON COLUMN notify.notifications.email_job_id IS 'The email that includes it; null: skipped.';
    """)
