"""
Say in the comments of shared columns what forges, webhooks, heads and statuses keep there.

Phase: fill         Locks: process_totals, endpoints, work_items, requests, shared with readers and writers
Runs:  any time                                 Undo: restores the old comments
"""

from alembic import op

revision = "0017"
down_revision = "0016"

# Column, comment before, comment after.
COMMENTS = (
    (
        "work_items.stage",
        "The stage that works on it: fan_out or deliver.",
        "The stage that works on it, such as fan_out or deliver.",
    ),
    (
        "work_items.id",
        "Id of the event (fan_out) or the email job (deliver).",
        "Id in the stage''s own table, such as of an event (fan_out) or an email job (deliver).",
    ),
    (
        "process_totals.label",
        "A stage, an SMTP phase, or a histogram bucket''s upper bound in seconds.",
        "A stage, an SMTP phase, a histogram bucket''s upper bound in seconds, or what else the measure counts by.",
    ),
    (
        "endpoints.endpoint",
        "host:port of a relay, or forge and its name.",
        "host:port of a relay, or forge or webhook and its name.",
    ),
    (
        "endpoints.state",
        "closed: emails are sent; open: none is claimed.",
        "closed: it is used; open: nothing is claimed for it.",
    ),
    (
        "endpoints.failures",
        "Consecutive relay failures, counted across all workers.",
        "Failures in a row, counted across all workers.",
    ),
    (
        "endpoints.probe_at",
        "When one worker may probe the relay; null while closed.",
        "When one worker may probe it; null while closed.",
    ),
    (
        "endpoints.reason",
        "relay, configuration or throttle, then why; null: it never failed.",
        "What was blamed, such as relay, configuration or throttle, then why; null: it never failed.",
    ),
    (
        "endpoints.last_error",
        "The relay''s reply to the last failure; never contains a credential.",
        "The answer to the last failure; never contains a credential.",
    ),
    (
        "requests.created_at",
        "When the head was seen first.",
        "When the head was taken in, or when its retry was asked for.",
    ),
)
TABLE = ("endpoints", "One circuit breaker per relay or forge, shared by all workers.")
TABLE_NOW = "One circuit breaker per relay, forge or webhook endpoint, shared by all workers."


def upgrade() -> None:
    """Write the comments."""
    for column, _, now in COMMENTS:
        op.execute(f"COMMENT ON COLUMN notify.{column} IS '{now}'")
    op.execute(f"COMMENT ON TABLE notify.{TABLE[0]} IS '{TABLE_NOW}'")


def downgrade() -> None:
    """Write those from before."""
    for column, before, _ in COMMENTS:
        op.execute(f"COMMENT ON COLUMN notify.{column} IS '{before}'")
    op.execute(f"COMMENT ON TABLE notify.{TABLE[0]} IS '{TABLE[1]}'")
