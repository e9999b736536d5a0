"""
Add webhook endpoints and the calls that tell them of outcomes.

Phase: add          Locks: email_jobs, events, notifications: share row exclusive, for a moment, to add triggers
Runs:  before the code that makes the calls; the code before it tells as well, by the triggers
Undo:  drops the triggers, the tables and what is in them

An endpoint may ask for any outcome, and many statements record outcomes, some of them in applications. A trigger for
each statement, not each row, sees them all. Without an enabled endpoint it reads one small table. Its function runs as
its owner: an application that withdraws an event needs no right to these tables.
"""

from alembic import op

revision = "0016"
down_revision = "0015"

SCHEMA = """
    CREATE TABLE notify.webhook_endpoints (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        name TEXT NOT NULL,
        url TEXT NOT NULL,
        types TEXT[] NOT NULL,
        include TEXT[] DEFAULT '{}'::text[] NOT NULL,
        secret TEXT NOT NULL,
        old_secret TEXT,
        old_secret_until TIMESTAMP WITH TIME ZONE,
        paused_until TIMESTAMP WITH TIME ZONE,
        disabled_at TIMESTAMP WITH TIME ZONE,
        disabled_because TEXT,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (id),
        CONSTRAINT webhook_endpoints_name_key UNIQUE (name),
        CONSTRAINT webhook_endpoints_name_check CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,63}$'),
        CONSTRAINT webhook_endpoints_url_check CHECK (octet_length(url) <= 2048),
        CONSTRAINT webhook_endpoints_types_check CHECK (cardinality(types) > 0 AND types <@ ARRAY['email.sent', 'email.dead', 'notification.skipped', 'event.done']),
        CONSTRAINT webhook_endpoints_include_check CHECK (include <@ ARRAY['address', 'payload']),
        CONSTRAINT webhook_endpoints_old_secret_check CHECK ((old_secret IS NULL) = (old_secret_until IS NULL)),
        CONSTRAINT webhook_endpoints_disabled_check CHECK ((disabled_at IS NULL) = (disabled_because IS NULL))
    );
    COMMENT ON TABLE notify.webhook_endpoints IS 'One row for each endpoint that is told of outcomes.';
    COMMENT ON COLUMN notify.webhook_endpoints.id IS 'Id; rises with time.';
    COMMENT ON COLUMN notify.webhook_endpoints.name IS 'What operators call it.';
    COMMENT ON COLUMN notify.webhook_endpoints.url IS 'Where it is called.';
    COMMENT ON COLUMN notify.webhook_endpoints.types IS 'Types of outcomes that it is told of.';
    COMMENT ON COLUMN notify.webhook_endpoints.include IS 'What calls contain besides ids: address, payload.';
    COMMENT ON COLUMN notify.webhook_endpoints.secret IS 'What its secret is derived from: id of a key, and a salt. Not the secret.';
    COMMENT ON COLUMN notify.webhook_endpoints.old_secret IS 'The same of the secret before the last rotation; null: there is none.';
    COMMENT ON COLUMN notify.webhook_endpoints.old_secret_until IS 'Until when calls are signed with that one as well; null: there is none.';
    COMMENT ON COLUMN notify.webhook_endpoints.paused_until IS 'It has limited the rate: not called before this instant; null: it has not.';
    COMMENT ON COLUMN notify.webhook_endpoints.disabled_at IS 'Since when it is told of nothing; null: it is enabled.';
    COMMENT ON COLUMN notify.webhook_endpoints.disabled_because IS 'Why it is disabled; null: it is enabled.';
    COMMENT ON COLUMN notify.webhook_endpoints.created_at IS 'When it was added.';

    CREATE TABLE notify.webhook_calls (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        endpoint_id BIGINT NOT NULL,
        message_id UUID DEFAULT gen_random_uuid() NOT NULL,
        type TEXT NOT NULL,
        subject_id BIGINT NOT NULL,
        outcome TEXT NOT NULL,
        why TEXT,
        replay_of BIGINT,
        status TEXT DEFAULT 'pending' NOT NULL,
        attempts INTEGER DEFAULT 0 NOT NULL,
        outcome_reason TEXT,
        last_code SMALLINT,
        last_error TEXT,
        took_ms INTEGER,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        retried_at TIMESTAMP WITH TIME ZONE,
        finished_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT webhook_calls_pkey PRIMARY KEY (id),
        CONSTRAINT webhook_calls_status_check CHECK (status IN ('pending', 'delivered', 'dead', 'skipped')),
        CONSTRAINT webhook_calls_finished_when_final_check CHECK ((finished_at IS NULL) = (status = 'pending')),
        CONSTRAINT webhook_calls_reasoned_check CHECK (status NOT IN ('dead', 'skipped') OR outcome_reason IS NOT NULL),
        CONSTRAINT webhook_calls_why_check CHECK (octet_length(why) <= 1024),
        CONSTRAINT webhook_calls_outcome_reason_check CHECK (octet_length(outcome_reason) <= 1024),
        CONSTRAINT webhook_calls_last_error_check CHECK (octet_length(last_error) <= 1024),
        CONSTRAINT webhook_calls_counts_check CHECK (attempts >= 0 AND took_ms >= 0)
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 1000, fillfactor = 60);
    CREATE INDEX webhook_calls_endpoint ON notify.webhook_calls (endpoint_id, id);
    COMMENT ON INDEX notify.webhook_calls_endpoint IS 'People list an endpoint''s calls.';
    COMMENT ON TABLE notify.webhook_calls IS 'One row for each outcome that is told to an endpoint.';
    COMMENT ON COLUMN notify.webhook_calls.id IS 'Id; rises with time.';
    COMMENT ON COLUMN notify.webhook_calls.endpoint_id IS 'The endpoint, which may have been removed.';
    COMMENT ON COLUMN notify.webhook_calls.message_id IS 'The webhook-id, the same in every attempt.';
    COMMENT ON COLUMN notify.webhook_calls.type IS 'What it tells, such as email.sent.';
    COMMENT ON COLUMN notify.webhook_calls.subject_id IS 'Id of the email job, the notification, the event or, in a test, the endpoint.';
    COMMENT ON COLUMN notify.webhook_calls.outcome IS 'How that ended, such as sent or dead.';
    COMMENT ON COLUMN notify.webhook_calls.why IS 'Why it ended so; null: no reason is needed.';
    COMMENT ON COLUMN notify.webhook_calls.replay_of IS 'The call that this one repeats under a new webhook-id; null: none.';
    COMMENT ON COLUMN notify.webhook_calls.status IS 'pending, delivered, dead or skipped; leases are in work_items.';
    COMMENT ON COLUMN notify.webhook_calls.attempts IS 'Attempts up to the last that was recorded.';
    COMMENT ON COLUMN notify.webhook_calls.outcome_reason IS 'Why it is dead or skipped, or why the last attempt failed; null: neither.';
    COMMENT ON COLUMN notify.webhook_calls.last_code IS 'HTTP status of the last attempt; null: no answer.';
    COMMENT ON COLUMN notify.webhook_calls.last_error IS 'Why there was no answer, in our words; null: there was one.';
    COMMENT ON COLUMN notify.webhook_calls.took_ms IS 'Duration of the last attempt in milliseconds; null: none was recorded.';
    COMMENT ON COLUMN notify.webhook_calls.created_at IS 'When the outcome was recorded that it tells of.';
    COMMENT ON COLUMN notify.webhook_calls.retried_at IS 'When it was last retried by hand; null: never.';
    COMMENT ON COLUMN notify.webhook_calls.finished_at IS 'When it reached its final status; null: pending.';
"""

ENDED_EMAILS = """
            SELECT CASE is_now.status WHEN 'sent' THEN 'email.sent' ELSE 'email.dead' END AS type,
                is_now.id AS subject_id, is_now.status AS outcome, is_now.outcome_reason AS why
            FROM is_now JOIN was USING (id) WHERE is_now.status <> was.status AND is_now.status <> 'pending'
            UNION ALL
            SELECT 'notification.skipped', note.id, is_now.status, is_now.outcome_reason
            FROM is_now JOIN was USING (id) JOIN notify.notifications AS note ON note.email_job_id = is_now.id
            WHERE is_now.status <> was.status AND is_now.status = 'skipped'"""
ENDED_EVENTS = """
            SELECT 'event.done' AS type, is_now.id AS subject_id, is_now.status AS outcome, item.reason AS why
            FROM is_now JOIN was USING (id)
            LEFT JOIN notify.work_items AS item ON item.stage = 'fan_out' AND item.id = is_now.id AND item.lane = 9
            WHERE is_now.status <> was.status AND is_now.status <> 'pending'"""
SKIPPED_NOTIFICATIONS = """
            SELECT 'notification.skipped' AS type, is_now.id AS subject_id, is_now.decision AS outcome, is_now.why
            FROM is_now WHERE is_now.decision = 'skipped'"""
SKIPPED_LATER = f"""{SKIPPED_NOTIFICATIONS}
                AND is_now.id IN (SELECT was.id FROM was WHERE was.decision <> 'skipped')"""  # noqa: S608 - no input
CHANGED = "AFTER UPDATE ON notify.{} REFERENCING OLD TABLE AS was NEW TABLE AS is_now"
TRIGGERS = (
    ("tell_of_emails", CHANGED.format("email_jobs"), ENDED_EMAILS),
    ("tell_of_events", CHANGED.format("events"), ENDED_EVENTS),
    (
        "tell_of_notifications",
        "AFTER INSERT ON notify.notifications REFERENCING NEW TABLE AS is_now",
        SKIPPED_NOTIFICATIONS,
    ),
    ("tell_of_rechecks", CHANGED.format("notifications"), SKIPPED_LATER),
)


def upgrade() -> None:
    """Create the tables, and the triggers that fill them."""
    op.execute(SCHEMA)
    for name, when, outcomes in TRIGGERS:
        op.execute(f"""
CREATE FUNCTION notify.{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM notify.webhook_endpoints WHERE disabled_at IS NULL) THEN
        WITH told AS MATERIALIZED ({outcomes}
        ), called AS (
            INSERT INTO notify.webhook_calls (endpoint_id, type, subject_id, outcome, why)
            SELECT receiver.id, told.type, told.subject_id, told.outcome, left(told.why, 250)
            FROM told JOIN notify.webhook_endpoints AS receiver ON told.type = ANY (receiver.types)
            WHERE receiver.disabled_at IS NULL ORDER BY told.subject_id, receiver.id
            RETURNING id
        )
        INSERT INTO notify.work_items (stage, id, lane, max_failures) SELECT 'webhooks', called.id, 1, 10 FROM called;
    END IF;
    RETURN NULL;
END $$""")  # noqa: S608 - no input
        op.execute(f"CREATE TRIGGER {name} {when} FOR EACH STATEMENT EXECUTE FUNCTION notify.{name}()")


def downgrade() -> None:
    """Drop the triggers, the tables and what waits for them."""
    for name, when, _ in TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON {when.split()[3]}")
        op.execute(f"DROP FUNCTION notify.{name}()")
    op.execute("DELETE FROM notify.work_items WHERE stage = 'webhooks'")
    op.execute("DROP TABLE notify.webhook_calls")
    op.execute("DROP TABLE notify.webhook_endpoints")
