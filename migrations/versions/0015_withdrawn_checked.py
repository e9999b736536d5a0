"""
Validate the checks of 0014.

Phase: tighten      Locks: reads events, email_jobs and notifications; nobody waits
Runs:  after 0014                               Undo: replaces them by the same, not validated
"""

from alembic import op

revision = "0015"
down_revision = "0014"

CHECKS = (
    ("events", "events_status_check", "status IN ('pending', 'done', 'dead', 'withdrawn')"),
    (
        "events",
        "events_finished_when_final_check",
        "(finished_at IS NOT NULL) = (status IN ('done', 'dead', 'withdrawn'))",
    ),
    (
        "email_jobs",
        "email_jobs_status_check",
        "status IN ('pending', 'sent', 'skipped', 'dead', 'expired', 'cancelled', 'withdrawn')",
    ),
    ("notifications", "notifications_decision_check", "decision IN ('told', 'skipped', 'withdrawn')"),
)


def upgrade() -> None:
    """Validate them."""
    for table, name, _ in CHECKS:
        op.execute(f"ALTER TABLE notify.{table} VALIDATE CONSTRAINT {name}")


def downgrade() -> None:
    """Forget that they are valid."""
    for table, name, condition in CHECKS:
        op.execute(
            f"ALTER TABLE notify.{table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID"
        )
