"""
Create the outbox: events, what is due, who is told, and the emails.

Phase: add          Locks: 6 new tables, nobody waits
Runs:  before the code that reads them          Undo: drops the tables and what is in them
"""

from alembic import op

revision = "0004"
down_revision = "0003"

SCHEMA = """
    CREATE TABLE notify.work_items (
        stage TEXT NOT NULL,
        id BIGINT NOT NULL,
        lane SMALLINT NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        attempt INTEGER DEFAULT 0 NOT NULL,
        failures SMALLINT DEFAULT 0 NOT NULL,
        max_failures SMALLINT DEFAULT 10 NOT NULL,
        lapses SMALLINT DEFAULT 0 NOT NULL,
        leased_by UUID,
        order_key TEXT,
        reason TEXT,
        CONSTRAINT work_items_pkey PRIMARY KEY (stage, id),
        CONSTRAINT work_items_lane_check CHECK (lane IN (0, 1, 2, 4, 8, 9)),
        CONSTRAINT work_items_alone_since_lapsed_check CHECK (lane > 4 OR (lane = 4) = (lapses > 0)),
        CONSTRAINT work_items_leased_by_somebody_check CHECK (lane <> 8 OR leased_by IS NOT NULL),
        CONSTRAINT work_items_dead_for_a_reason_check CHECK (lane <> 9 OR reason IS NOT NULL),
        CONSTRAINT work_items_attempt_check CHECK (attempt >= 0),
        CONSTRAINT work_items_failures_check CHECK (failures >= 0 AND failures <= max_failures),
        CONSTRAINT work_items_lapses_check CHECK (lapses >= 0),
        CONSTRAINT work_items_reason_check CHECK (octet_length(reason) <= 1024)
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 1000);
    CREATE INDEX work_items_due ON notify.work_items ((stage || ''), lane, due_at, id) WHERE lane >= 0;
    COMMENT ON INDEX notify.work_items_due IS 'Workers claim due items by lane; operators list leased, lapsed and dead ones.';
    CREATE INDEX work_items_order ON notify.work_items (stage, order_key, id) WHERE order_key IS NOT NULL AND failures = 0 AND lane < 9;
    COMMENT ON INDEX notify.work_items_order IS 'A claim looks for an earlier item with the same order key. Failed items do not block later ones.';
    COMMENT ON TABLE notify.work_items IS 'Work to do, for every stage. A row exists until its outcome; dead items stay until retried or pruned.';
    COMMENT ON COLUMN notify.work_items.stage IS 'The stage that works on it: fan_out or deliver.';
    COMMENT ON COLUMN notify.work_items.id IS 'Id of the event (fan_out) or the email job (deliver).';
    COMMENT ON COLUMN notify.work_items.lane IS '0 urgent, 1 normal, 2 bulk, claimed in that order; 4 lapsed, claimed alone; 8 leased; 9 dead.';
    COMMENT ON COLUMN notify.work_items.due_at IS 'When it is due; leased: when the lease ends; dead: when it died.';
    COMMENT ON COLUMN notify.work_items.attempt IS 'Incremented by each claim; (stage, id, attempt) is unique for ever.';
    COMMENT ON COLUMN notify.work_items.failures IS 'Failed attempts; reaching max_failures ends the item.';
    COMMENT ON COLUMN notify.work_items.max_failures IS 'The retry budget.';
    COMMENT ON COLUMN notify.work_items.lapses IS 'Leases that ran out without an outcome; the third ends the item.';
    COMMENT ON COLUMN notify.work_items.leased_by IS 'The worker process that claimed it last; null: never claimed.';
    COMMENT ON COLUMN notify.work_items.order_key IS 'Items of one key are worked on one at a time, by id; null: in any order.';
    COMMENT ON COLUMN notify.work_items.reason IS 'Why the last attempt failed, or why the item is dead; null: no attempt failed.';

    CREATE TABLE notify.events (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        key TEXT NOT NULL,
        type TEXT NOT NULL,
        topic TEXT NOT NULL,
        actor TEXT NOT NULL,
        occurred_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        payload JSONB DEFAULT '{}'::jsonb NOT NULL,
        status TEXT DEFAULT 'pending' NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        finished_at TIMESTAMP WITH TIME ZONE,
        traceparent TEXT,
        emptied_at TIMESTAMP WITH TIME ZONE,
        key_hash JSONB,
        CONSTRAINT events_pkey PRIMARY KEY (id),
        CONSTRAINT events_key_key UNIQUE (key),
        CONSTRAINT events_status_check CHECK (status IN ('pending', 'done', 'dead')),
        CONSTRAINT events_finished_when_final_check CHECK ((finished_at IS NOT NULL) = (status IN ('done', 'dead'))),
        CONSTRAINT events_traceparent_check CHECK (octet_length(traceparent) = 55),
        CONSTRAINT events_empty_when_emptied_check CHECK (emptied_at IS NULL OR payload = '{}' AND finished_at IS NOT NULL)
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 1000, fillfactor = 70);
    CREATE INDEX events_topic ON notify.events (topic, id) INCLUDE (actor, type);
    COMMENT ON INDEX notify.events_topic IS 'Searches list a topic''s jobs and history; the fan-out looks for earlier participants.';
    COMMENT ON TABLE notify.events IS 'One row for each event.';
    COMMENT ON COLUMN notify.events.id IS 'Id; rises with time.';
    COMMENT ON COLUMN notify.events.key IS 'The producer''s idempotency key.';
    COMMENT ON COLUMN notify.events.type IS 'Event type, such as cl.comment.created.';
    COMMENT ON COLUMN notify.events.topic IS 'The change list, by its link.';
    COMMENT ON COLUMN notify.events.actor IS 'Username of the person who did it.';
    COMMENT ON COLUMN notify.events.occurred_at IS 'When it happened, according to the producer.';
    COMMENT ON COLUMN notify.events.payload IS 'The event''s details; for cl.comment.created, the comment.';
    COMMENT ON COLUMN notify.events.status IS 'pending, done or dead; leases are in work_items.';
    COMMENT ON COLUMN notify.events.created_at IS 'When it was received.';
    COMMENT ON COLUMN notify.events.finished_at IS 'When it was fanned out or died; null: pending.';
    COMMENT ON COLUMN notify.events.traceparent IS 'The producer''s trace (W3C Trace Context, version 00); null: none.';
    COMMENT ON COLUMN notify.events.emptied_at IS 'When its payload was deleted; null: it was not.';
    COMMENT ON COLUMN notify.events.key_hash IS 'Hash of each field, to detect another event with this key; null: unknown.';

    CREATE TABLE notify.email_jobs (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        username TEXT NOT NULL,
        to_email TEXT NOT NULL,
        topic TEXT,
        message_id TEXT NOT NULL,
        status TEXT DEFAULT 'pending' NOT NULL,
        attempts INTEGER DEFAULT 0 NOT NULL,
        lapses SMALLINT DEFAULT 0 NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE DEFAULT now() + interval '72 hours' NOT NULL,
        deferred_by TEXT,
        outcome_reason TEXT,
        last_code SMALLINT,
        last_enhanced_code TEXT,
        last_error TEXT,
        relay_reply TEXT,
        relay TEXT,
        sent_in_ms INTEGER,
        replay_of BIGINT,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        finished_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT email_jobs_pkey PRIMARY KEY (id),
        CONSTRAINT email_jobs_message_id_key UNIQUE (message_id),
        CONSTRAINT email_jobs_status_check CHECK (status IN ('pending', 'sent', 'skipped', 'dead', 'expired', 'cancelled')),
        CONSTRAINT email_jobs_finished_when_final_check CHECK ((finished_at IS NULL) = (status = 'pending')),
        CONSTRAINT email_jobs_attempts_check CHECK (attempts >= 0),
        CONSTRAINT email_jobs_lapses_check CHECK (lapses >= 0),
        CONSTRAINT email_jobs_last_error_check CHECK (octet_length(last_error) <= 1024),
        CONSTRAINT email_jobs_relay_reply_check CHECK (octet_length(relay_reply) <= 1024),
        CONSTRAINT email_jobs_reasoned_check CHECK (status NOT IN ('skipped', 'dead') OR outcome_reason IS NOT NULL),
        CONSTRAINT email_jobs_deferred_by_check CHECK (deferred_by IN ('hourly', 'daily', 'weekly', 'quiet_hours', 'pause')),
        CONSTRAINT email_jobs_sent_in_ms_check CHECK (sent_in_ms >= 0),
        CONSTRAINT email_jobs_replay_of_fkey FOREIGN KEY(replay_of) REFERENCES notify.email_jobs (id)
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 1000, fillfactor = 60);
    CREATE INDEX email_jobs_replays ON notify.email_jobs (replay_of) WHERE replay_of IS NOT NULL;
    COMMENT ON INDEX notify.email_jobs_replays IS 'Replaying or deleting a job looks for its replays.';
    COMMENT ON TABLE notify.email_jobs IS 'One row for each email: to whom, and how it ended.';
    COMMENT ON COLUMN notify.email_jobs.id IS 'Id; rises with time.';
    COMMENT ON COLUMN notify.email_jobs.username IS 'The recipient''s username.';
    COMMENT ON COLUMN notify.email_jobs.to_email IS 'The address: as of the fan-out; once attempted, the one that was used.';
    COMMENT ON COLUMN notify.email_jobs.topic IS 'The change list; null: a digest, or whatever else was deferred until the same time.';
    COMMENT ON COLUMN notify.email_jobs.message_id IS 'Message-ID without brackets; the same in every attempt.';
    COMMENT ON COLUMN notify.email_jobs.status IS 'pending, or how the job ended; leases are in work_items.';
    COMMENT ON COLUMN notify.email_jobs.attempts IS 'Attempts, copied from work_items when the job ends; 0 until then.';
    COMMENT ON COLUMN notify.email_jobs.lapses IS 'Lapses, copied from work_items when the job ends; 0 until then.';
    COMMENT ON COLUMN notify.email_jobs.expires_at IS 'When the email is too old to be sent.';
    COMMENT ON COLUMN notify.email_jobs.deferred_by IS 'hourly, daily, weekly, quiet_hours or pause; null: not deferred.';
    COMMENT ON COLUMN notify.email_jobs.outcome_reason IS 'Why the job ended so, or why the last attempt failed; null: neither.';
    COMMENT ON COLUMN notify.email_jobs.last_code IS 'SMTP reply code of the last attempt; null: no reply.';
    COMMENT ON COLUMN notify.email_jobs.last_enhanced_code IS 'Enhanced status code (RFC 3463) of the last attempt; null: none.';
    COMMENT ON COLUMN notify.email_jobs.last_error IS 'Error of the last attempt; no credentials; null: none, or sent.';
    COMMENT ON COLUMN notify.email_jobs.relay_reply IS 'The relay''s reply when it accepted the email; null: not sent.';
    COMMENT ON COLUMN notify.email_jobs.relay IS 'host:port of the relay that accepted the email; null: not sent.';
    COMMENT ON COLUMN notify.email_jobs.sent_in_ms IS 'Duration of the successful attempt in milliseconds; null: not sent.';
    COMMENT ON COLUMN notify.email_jobs.replay_of IS 'The job that this one sends again; null: not a replay.';
    COMMENT ON COLUMN notify.email_jobs.created_at IS 'When it was created.';
    COMMENT ON COLUMN notify.email_jobs.finished_at IS 'When it ended; null: pending.';

    CREATE TABLE notify.notifications (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        event_id BIGINT NOT NULL,
        username TEXT NOT NULL,
        event_type TEXT NOT NULL,
        reason TEXT NOT NULL,
        decision TEXT NOT NULL,
        why TEXT NOT NULL,
        email_job_id BIGINT,
        CONSTRAINT notifications_pkey PRIMARY KEY (id),
        CONSTRAINT notifications_decision_check CHECK (decision IN ('told', 'skipped')),
        CONSTRAINT notifications_told_by_an_email_check CHECK ((decision = 'told') = (email_job_id IS NOT NULL)),
        CONSTRAINT notifications_event_id_fkey FOREIGN KEY(event_id) REFERENCES notify.events (id) ON DELETE CASCADE,
        CONSTRAINT notifications_email_job_id_fkey FOREIGN KEY(email_job_id) REFERENCES notify.email_jobs (id) ON DELETE CASCADE
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 1000);
    CREATE UNIQUE INDEX notifications_once ON notify.notifications (event_id, username);
    COMMENT ON INDEX notify.notifications_once IS 'The fan-out decides once per event and person; explain and the API list an event''s people.';
    CREATE INDEX notifications_person ON notify.notifications (username, id);
    COMMENT ON INDEX notify.notifications_person IS 'A person''s history, newest first.';
    CREATE INDEX notifications_email ON notify.notifications (email_job_id);
    COMMENT ON INDEX notify.notifications_email IS 'Delivery loads an email''s notifications; deleting a job deletes them.';
    COMMENT ON TABLE notify.notifications IS 'One row for each event and person it concerns: told or skipped, and why.';
    COMMENT ON COLUMN notify.notifications.id IS 'Id; rises with time.';
    COMMENT ON COLUMN notify.notifications.event_id IS 'The event.';
    COMMENT ON COLUMN notify.notifications.username IS 'The person whom the event concerns.';
    COMMENT ON COLUMN notify.notifications.event_type IS 'The event type for this person; if mentioned, cl.comment.mentioned.';
    COMMENT ON COLUMN notify.notifications.reason IS 'Why the event concerns the person, such as author or reviewer.';
    COMMENT ON COLUMN notify.notifications.decision IS 'told: the email in email_job_id includes it; or skipped.';
    COMMENT ON COLUMN notify.notifications.why IS 'The rule that decided, at fan-out or at the recheck.';
    COMMENT ON COLUMN notify.notifications.email_job_id IS 'The email that includes it; null: skipped.';

    CREATE TABLE notify.bundles (
        username TEXT NOT NULL,
        topic TEXT NOT NULL,
        deferred_until TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
        last_at TIMESTAMP WITH TIME ZONE NOT NULL,
        email_job_id BIGINT,
        CONSTRAINT bundles_pkey PRIMARY KEY (username, topic, deferred_until)
    );
    COMMENT ON TABLE notify.bundles IS 'The email that further notifications join: one row for each person and topic, or person and deferral time. Writers lock the row first.';
    COMMENT ON COLUMN notify.bundles.username IS 'The recipient''s username.';
    COMMENT ON COLUMN notify.bundles.topic IS 'The change list; empty: everything deferred until deferred_until.';
    COMMENT ON COLUMN notify.bundles.deferred_until IS 'When the email leaves; -infinity: not deferred.';
    COMMENT ON COLUMN notify.bundles.last_at IS 'When the latest email of this bundle left or will leave.';
    COMMENT ON COLUMN notify.bundles.email_job_id IS 'The job that others join until it is claimed; null: none. May be deleted.';

    CREATE TABLE notify.email_attempts (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        job_id BIGINT NOT NULL,
        attempt INTEGER NOT NULL,
        at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        phase TEXT,
        code SMALLINT,
        enhanced_code TEXT,
        text TEXT,
        outcome TEXT NOT NULL,
        relay TEXT,
        took_ms INTEGER,
        CONSTRAINT email_attempts_pkey PRIMARY KEY (id),
        CONSTRAINT email_attempts_text_check CHECK (octet_length(text) <= 1024),
        CONSTRAINT email_attempts_took_ms_check CHECK (took_ms >= 0),
        CONSTRAINT email_attempts_job_id_fkey FOREIGN KEY(job_id) REFERENCES notify.email_jobs (id) ON DELETE CASCADE
    ) WITH (autovacuum_vacuum_scale_factor = 0.05);
    CREATE INDEX email_attempts_job ON notify.email_attempts (job_id, id);
    COMMENT ON INDEX notify.email_attempts_job IS '`jobs show` lists a job''s attempts; deleting the job deletes them.';
    COMMENT ON TABLE notify.email_attempts IS 'One row for each attempt that did not end in sent.';
    COMMENT ON COLUMN notify.email_attempts.id IS 'Id; rises with time.';
    COMMENT ON COLUMN notify.email_attempts.job_id IS 'The job.';
    COMMENT ON COLUMN notify.email_attempts.attempt IS 'Number of the attempt.';
    COMMENT ON COLUMN notify.email_attempts.at IS 'When the outcome was recorded.';
    COMMENT ON COLUMN notify.email_attempts.phase IS 'The step that failed, such as connect, rcpt or data; null: none was begun.';
    COMMENT ON COLUMN notify.email_attempts.code IS 'SMTP reply code; null: no reply.';
    COMMENT ON COLUMN notify.email_attempts.enhanced_code IS 'Enhanced status code (RFC 3463); null: none.';
    COMMENT ON COLUMN notify.email_attempts.text IS 'The relay''s reply or our error, at most 1 KiB; never contains a credential.';
    COMMENT ON COLUMN notify.email_attempts.outcome IS 'retry, dead, skipped, expired, released or lease_lost, then a colon and the reason.';
    COMMENT ON COLUMN notify.email_attempts.relay IS 'host:port of the relay; null: none was contacted.';
    COMMENT ON COLUMN notify.email_attempts.took_ms IS 'Duration in milliseconds; null: the email was not begun.';
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE notify.email_attempts")
    op.execute("DROP TABLE notify.bundles")
    op.execute("DROP TABLE notify.notifications")
    op.execute("DROP TABLE notify.email_jobs")
    op.execute("DROP TABLE notify.events")
    op.execute("DROP TABLE notify.work_items")
