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
    COMMENT ON INDEX notify.work_items_due IS 'Workers claim what is due, by lane; people list what is leased, lapsed or dead.';
    CREATE INDEX work_items_order ON notify.work_items (stage, order_key, id) WHERE order_key IS NOT NULL AND failures = 0 AND lane < 9;
    COMMENT ON INDEX notify.work_items_order IS 'A claim asks what comes before an item of the same key. What has failed holds up no other.';
    COMMENT ON TABLE notify.work_items IS 'What is to be done: one row from birth to outcome, whatever the stage. Dead items stay until they are retried by hand or pruned.';
    COMMENT ON COLUMN notify.work_items.stage IS 'Which stage works it off: fan_out, deliver.';
    COMMENT ON COLUMN notify.work_items.id IS 'Id of the row in the stage''s own table: an event, an email job.';
    COMMENT ON COLUMN notify.work_items.lane IS '0 urgent, 1 normal, 2 bulk, in that order; 4 lapsed, alone; 8 leased; 9 dead.';
    COMMENT ON COLUMN notify.work_items.due_at IS 'Not before this instant; leased: when the lease ends; dead: when it died.';
    COMMENT ON COLUMN notify.work_items.attempt IS 'Rises at every claim, never falls; (stage, id, attempt) is unique for ever.';
    COMMENT ON COLUMN notify.work_items.failures IS 'Attempts that ended in: no, later.';
    COMMENT ON COLUMN notify.work_items.max_failures IS 'Retry budget; the failure that reaches it ends the item.';
    COMMENT ON COLUMN notify.work_items.lapses IS 'Leases that ran out with no outcome; the third ends the item.';
    COMMENT ON COLUMN notify.work_items.leased_by IS 'Worker process that claimed it last; null before the first claim.';
    COMMENT ON COLUMN notify.work_items.order_key IS 'Items of one key are worked on one at a time, by id; null: in any order.';
    COMMENT ON COLUMN notify.work_items.reason IS 'Why the last attempt failed, or why it is dead; null: none has failed.';

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
    COMMENT ON INDEX notify.events_topic IS 'People ask for all about a topic; the fan-out asks who has said something on it before.';
    COMMENT ON TABLE notify.events IS 'What happened, until it is fanned out and after.';
    COMMENT ON COLUMN notify.events.id IS 'Ascending number of the row.';
    COMMENT ON COLUMN notify.events.key IS 'The producer''s idempotency key.';
    COMMENT ON COLUMN notify.events.type IS 'Event type: cl.comment.created.';
    COMMENT ON COLUMN notify.events.topic IS 'The change list it happened on.';
    COMMENT ON COLUMN notify.events.actor IS 'Username of who did it.';
    COMMENT ON COLUMN notify.events.occurred_at IS 'When it happened, by the producer.';
    COMMENT ON COLUMN notify.events.payload IS 'What the type carries: for cl.comment.created the comment.';
    COMMENT ON COLUMN notify.events.status IS 'pending, done or dead; who works on it is in work_items.';
    COMMENT ON COLUMN notify.events.created_at IS 'When it was received.';
    COMMENT ON COLUMN notify.events.finished_at IS 'When it was fanned out or died; null before.';
    COMMENT ON COLUMN notify.events.traceparent IS 'The producer''s trace (W3C Trace Context, version 00); null: none.';
    COMMENT ON COLUMN notify.events.emptied_at IS 'When the words it carried were deleted; null: it has them still.';
    COMMENT ON COLUMN notify.events.key_hash IS 'Digest of each stated field: two events of one key differ by it; null: not known.';

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
    COMMENT ON INDEX notify.email_jobs_replays IS 'People ask whether an email is being replayed; deleting it asks whether a replay needs it.';
    COMMENT ON TABLE notify.email_jobs IS 'One row for each email: what became of it. Written at its birth and at its end, within its page.';
    COMMENT ON COLUMN notify.email_jobs.id IS 'Ascending number of the row.';
    COMMENT ON COLUMN notify.email_jobs.username IS 'Whom the email is for.';
    COMMENT ON COLUMN notify.email_jobs.to_email IS 'Address at the fan-out, then where the email went.';
    COMMENT ON COLUMN notify.email_jobs.topic IS 'What the email is about; null: whatever was deferred until one instant.';
    COMMENT ON COLUMN notify.email_jobs.message_id IS 'Message-ID without brackets, the same at every attempt.';
    COMMENT ON COLUMN notify.email_jobs.status IS 'pending, or how it ended; who is sending it is in work_items.';
    COMMENT ON COLUMN notify.email_jobs.attempts IS 'How many attempts were begun when it ended last; 0: it never has.';
    COMMENT ON COLUMN notify.email_jobs.lapses IS 'How many leases had run out when it ended last; 0: it never has.';
    COMMENT ON COLUMN notify.email_jobs.expires_at IS 'From then on it is not worth sending.';
    COMMENT ON COLUMN notify.email_jobs.deferred_by IS 'Why it waits or waited: hourly, daily, weekly, quiet_hours, pause; null: not.';
    COMMENT ON COLUMN notify.email_jobs.outcome_reason IS 'Why skipped, dead or cancelled, or why the last attempt failed; null before.';
    COMMENT ON COLUMN notify.email_jobs.last_code IS 'SMTP reply code of the last attempt; null if there was no reply.';
    COMMENT ON COLUMN notify.email_jobs.last_enhanced_code IS 'RFC 3463 code of the last attempt; null if there was none.';
    COMMENT ON COLUMN notify.email_jobs.last_error IS 'The relay''s words at the last attempt that failed; never a credential.';
    COMMENT ON COLUMN notify.email_jobs.relay_reply IS 'The relay''s words when it took the email; null unless sent.';
    COMMENT ON COLUMN notify.email_jobs.relay IS 'host:port of the relay that took the email; null unless sent.';
    COMMENT ON COLUMN notify.email_jobs.sent_in_ms IS 'How long the attempt took that sent it, in milliseconds; null unless sent.';
    COMMENT ON COLUMN notify.email_jobs.replay_of IS 'The job whose notifications this one repeats by hand; null: it has its own.';
    COMMENT ON COLUMN notify.email_jobs.created_at IS 'When the fan-out wrote it.';
    COMMENT ON COLUMN notify.email_jobs.finished_at IS 'When it reached its final status; null before.';

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
    COMMENT ON INDEX notify.notifications_once IS 'The fan-out decides once about a person and an event; people ask what became of an event.';
    CREATE INDEX notifications_person ON notify.notifications (username, id);
    COMMENT ON INDEX notify.notifications_person IS 'People ask what somebody was told of, newest first.';
    CREATE INDEX notifications_email ON notify.notifications (email_job_id);
    COMMENT ON INDEX notify.notifications_email IS 'The delivery asks what an email tells of; so does its deletion.';
    COMMENT ON TABLE notify.notifications IS 'One row for each person whom an event concerned: told, or not, and why.';
    COMMENT ON COLUMN notify.notifications.id IS 'Ascending number of the row.';
    COMMENT ON COLUMN notify.notifications.event_id IS 'What happened.';
    COMMENT ON COLUMN notify.notifications.username IS 'Whom it concerned.';
    COMMENT ON COLUMN notify.notifications.event_type IS 'The type under which the person is told; of a mention, cl.comment.mentioned.';
    COMMENT ON COLUMN notify.notifications.reason IS 'Why the event concerned the person: author, reviewer.';
    COMMENT ON COLUMN notify.notifications.decision IS 'told, by the email of email_job_id; or skipped.';
    COMMENT ON COLUMN notify.notifications.why IS 'The rule that decided, at the fan-out or the recheck.';
    COMMENT ON COLUMN notify.notifications.email_job_id IS 'The email that tells of it; null: none does.';

    CREATE TABLE notify.bundles (
        username TEXT NOT NULL,
        topic TEXT NOT NULL,
        deferred_until TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
        last_at TIMESTAMP WITH TIME ZONE NOT NULL,
        email_job_id BIGINT,
        CONSTRAINT bundles_pkey PRIMARY KEY (username, topic, deferred_until)
    );
    COMMENT ON TABLE notify.bundles IS 'The open email of a person and topic, or of all that is deferred until one instant. Whoever writes such a notification locks the row first.';
    COMMENT ON COLUMN notify.bundles.username IS 'To whom.';
    COMMENT ON COLUMN notify.bundles.topic IS 'About what; empty: about anything, deferred until an instant.';
    COMMENT ON COLUMN notify.bundles.deferred_until IS 'Until when; -infinity: not deferred.';
    COMMENT ON COLUMN notify.bundles.last_at IS 'When the last email left, or will leave.';
    COMMENT ON COLUMN notify.bundles.email_job_id IS 'The email that others join until it is claimed; null: none. May be gone.';

    CREATE TABLE notify.email_attempts (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        job_id BIGINT NOT NULL,
        attempt INTEGER NOT NULL,
        at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        phase TEXT,
        code SMALLINT,
        enhanced_code TEXT,
        text TEXT,
        verdict TEXT NOT NULL,
        relay TEXT,
        took_ms INTEGER,
        CONSTRAINT email_attempts_pkey PRIMARY KEY (id),
        CONSTRAINT email_attempts_text_check CHECK (octet_length(text) <= 1024),
        CONSTRAINT email_attempts_took_ms_check CHECK (took_ms >= 0),
        CONSTRAINT email_attempts_job_id_fkey FOREIGN KEY(job_id) REFERENCES notify.email_jobs (id) ON DELETE CASCADE
    ) WITH (autovacuum_vacuum_scale_factor = 0.05);
    CREATE INDEX email_attempts_job ON notify.email_attempts (job_id, id);
    COMMENT ON INDEX notify.email_attempts_job IS 'People ask for the attempts of an email; so does its deletion.';
    COMMENT ON TABLE notify.email_attempts IS 'Every attempt that did not end in sent; append-only.';
    COMMENT ON COLUMN notify.email_attempts.id IS 'Ascending number of the row.';
    COMMENT ON COLUMN notify.email_attempts.job_id IS 'The job that was attempted.';
    COMMENT ON COLUMN notify.email_attempts.attempt IS 'Which attempt; with job_id it names the attempt.';
    COMMENT ON COLUMN notify.email_attempts.at IS 'When the outcome was recorded.';
    COMMENT ON COLUMN notify.email_attempts.phase IS 'Where in the conversation it ended; null if it never began.';
    COMMENT ON COLUMN notify.email_attempts.code IS 'SMTP reply code; null if the relay said nothing.';
    COMMENT ON COLUMN notify.email_attempts.enhanced_code IS 'RFC 3463 code; null if there was none.';
    COMMENT ON COLUMN notify.email_attempts.text IS 'The relay''s words, at most 1 KiB; never a credential.';
    COMMENT ON COLUMN notify.email_attempts.verdict IS 'retry, dead, skipped, expired or released, then the reason.';
    COMMENT ON COLUMN notify.email_attempts.relay IS 'host:port of the relay; null if none was asked.';
    COMMENT ON COLUMN notify.email_attempts.took_ms IS 'How long the attempt took, in milliseconds; null if no email was written.';
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
