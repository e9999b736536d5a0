"""
Create the outbox: events, what is due, and the emails about them.

Phase: add          Locks: 5 new tables, nobody waits
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
    CREATE INDEX work_items_due ON notify.work_items (stage, lane, due_at, id) WHERE lane >= 0;
    COMMENT ON INDEX notify.work_items_due IS 'Workers claim what is due, lane by lane; people list what is leased, lapsed or dead.';
    CREATE INDEX work_items_order ON notify.work_items (stage, order_key, id) WHERE order_key IS NOT NULL AND failures = 0 AND lane < 9;
    COMMENT ON INDEX notify.work_items_order IS 'A claim asks what comes before an item of the same key. What has failed holds up no other.';
    COMMENT ON TABLE notify.work_items IS 'What is to be done: one row from birth to outcome, whatever the stage. Dead items stay until they are retried by hand or pruned.';
    COMMENT ON COLUMN notify.work_items.stage IS 'Which stage works it off: fan_out, deliver.';
    COMMENT ON COLUMN notify.work_items.id IS 'Id of the row in the stage''s own table: an event, an email job.';
    COMMENT ON COLUMN notify.work_items.lane IS '0 urgent, 1 normal, 2 bulk, claimed in that order; 4 lapsed, claimed alone; 8 leased; 9 dead.';
    COMMENT ON COLUMN notify.work_items.due_at IS 'Nobody may claim it before this instant. Leased: when the lease ends; dead: when it died.';
    COMMENT ON COLUMN notify.work_items.attempt IS 'Rises by one at every claim and never falls; (stage, id, attempt) names one attempt for ever.';
    COMMENT ON COLUMN notify.work_items.failures IS 'Attempts that ended in: no, later.';
    COMMENT ON COLUMN notify.work_items.max_failures IS 'Retry budget; the failure that reaches it ends the item.';
    COMMENT ON COLUMN notify.work_items.lapses IS 'Leases that ran out with no outcome recorded; the third ends the item.';
    COMMENT ON COLUMN notify.work_items.leased_by IS 'Worker process that claimed it last; null before the first claim.';
    COMMENT ON COLUMN notify.work_items.order_key IS 'Items of one key are worked on in the order of their ids, by one worker at a time; null: in any.';
    COMMENT ON COLUMN notify.work_items.reason IS 'Why the last attempt failed, or why it is dead; null: none has failed.';

    CREATE TABLE notify.events (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        key TEXT NOT NULL,
        type TEXT NOT NULL,
        cl_link TEXT NOT NULL,
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
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 1000);
    CREATE INDEX events_finished ON notify.events (finished_at) WHERE finished_at IS NOT NULL;
    COMMENT ON INDEX notify.events_finished IS 'Upkeep prunes old events.';
    CREATE INDEX events_said ON notify.events (cl_link, actor, id) WHERE type IN ('cl.comment.created', 'cl.review.submitted');
    COMMENT ON INDEX notify.events_said IS 'The fan-out asks who has said something on a change list before.';
    COMMENT ON TABLE notify.events IS 'What happened, until it is fanned out and after.';
    COMMENT ON COLUMN notify.events.id IS 'Ascending number of the row.';
    COMMENT ON COLUMN notify.events.key IS 'The producer''s idempotency key.';
    COMMENT ON COLUMN notify.events.type IS 'Event type: cl.comment.created.';
    COMMENT ON COLUMN notify.events.cl_link IS 'The change list it happened on.';
    COMMENT ON COLUMN notify.events.actor IS 'Username of who did it.';
    COMMENT ON COLUMN notify.events.occurred_at IS 'When it happened, by the producer.';
    COMMENT ON COLUMN notify.events.payload IS 'What the type carries besides: for cl.comment.created the comment.';
    COMMENT ON COLUMN notify.events.status IS 'pending, done or dead; who works on it is in work_items.';
    COMMENT ON COLUMN notify.events.created_at IS 'When it was received.';
    COMMENT ON COLUMN notify.events.finished_at IS 'When it was fanned out or died; null before.';
    COMMENT ON COLUMN notify.events.traceparent IS 'Trace in which the producer emitted it (W3C Trace Context, version 00); null: in none.';
    COMMENT ON COLUMN notify.events.emptied_at IS 'When the words it carried were deleted; null: it has them still.';
    COMMENT ON COLUMN notify.events.key_hash IS 'Digest of each field that the producer stated, to tell the same event from another with its key; null: not known.';

    CREATE TABLE notify.email_jobs (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        event_id BIGINT NOT NULL,
        event_type TEXT NOT NULL,
        cl_link TEXT NOT NULL,
        username TEXT NOT NULL,
        to_email TEXT,
        reason TEXT NOT NULL,
        status TEXT DEFAULT 'pending' NOT NULL,
        attempts INTEGER DEFAULT 0 NOT NULL,
        lapses SMALLINT DEFAULT 0 NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE DEFAULT now() + interval '72 hours' NOT NULL,
        message_id TEXT,
        outcome_reason TEXT,
        last_code SMALLINT,
        last_enhanced_code TEXT,
        last_error TEXT,
        relay_reply TEXT,
        replay_of BIGINT,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        finished_at TIMESTAMP WITH TIME ZONE,
        leader_id BIGINT,
        carried_as TEXT,
        held_by TEXT,
        relay TEXT,
        sent_in_ms INTEGER,
        CONSTRAINT email_jobs_pkey PRIMARY KEY (id),
        CONSTRAINT email_jobs_message_id_key UNIQUE (message_id),
        CONSTRAINT email_jobs_status_check CHECK (status IN ('pending', 'sent', 'skipped', 'dead', 'expired', 'cancelled')),
        CONSTRAINT email_jobs_finished_when_final_check CHECK ((finished_at IS NULL) = (status = 'pending')),
        CONSTRAINT email_jobs_attempts_check CHECK (attempts >= 0),
        CONSTRAINT email_jobs_lapses_check CHECK (lapses >= 0),
        CONSTRAINT email_jobs_last_error_check CHECK (octet_length(last_error) <= 1024),
        CONSTRAINT email_jobs_relay_reply_check CHECK (octet_length(relay_reply) <= 1024),
        CONSTRAINT email_jobs_addressed_unless_skipped_check CHECK (status = 'skipped' OR (to_email IS NOT NULL AND message_id IS NOT NULL)),
        CONSTRAINT email_jobs_reasoned_check CHECK (status NOT IN ('skipped', 'dead') OR outcome_reason IS NOT NULL),
        CONSTRAINT email_jobs_carried_with_leader_check CHECK (leader_id IS NULL OR carried_as IS NOT NULL),
        CONSTRAINT email_jobs_held_by_check CHECK (held_by IN ('hourly', 'daily', 'weekly', 'quiet_hours', 'pause')),
        CONSTRAINT email_jobs_sent_in_ms_check CHECK (sent_in_ms >= 0),
        CONSTRAINT email_jobs_event_id_fkey FOREIGN KEY(event_id) REFERENCES notify.events (id),
        CONSTRAINT email_jobs_replay_of_fkey FOREIGN KEY(replay_of) REFERENCES notify.email_jobs (id) ON DELETE SET NULL,
        CONSTRAINT email_jobs_leader_id_fkey FOREIGN KEY(leader_id) REFERENCES notify.email_jobs (id) ON DELETE SET NULL
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 1000);
    CREATE UNIQUE INDEX email_jobs_once ON notify.email_jobs (event_id, username) WHERE replay_of IS NULL;
    COMMENT ON INDEX notify.email_jobs_once IS 'The fan-out writes one letter a person and event, however often it runs.';
    CREATE INDEX email_jobs_finished ON notify.email_jobs (finished_at) WHERE finished_at IS NOT NULL;
    COMMENT ON INDEX notify.email_jobs_finished IS 'Upkeep prunes old letters.';
    CREATE INDEX email_jobs_dead ON notify.email_jobs (finished_at) WHERE status = 'dead';
    COMMENT ON INDEX notify.email_jobs_dead IS 'People list the letters that died.';
    CREATE UNIQUE INDEX email_jobs_open_replay ON notify.email_jobs (replay_of) WHERE replay_of IS NOT NULL AND status = 'pending';
    COMMENT ON INDEX notify.email_jobs_open_replay IS 'A letter is replayed once at a time.';
    CREATE INDEX email_jobs_event ON notify.email_jobs (event_id);
    COMMENT ON INDEX notify.email_jobs_event IS 'People ask what became of an event; upkeep asks whether an event still has letters.';
    CREATE INDEX email_jobs_person ON notify.email_jobs (username, id);
    COMMENT ON INDEX notify.email_jobs_person IS 'People ask for somebody''s letters, newest first.';
    CREATE INDEX email_jobs_cl ON notify.email_jobs (cl_link, id);
    COMMENT ON INDEX notify.email_jobs_cl IS 'People ask for the letters about a change list, newest first.';
    CREATE INDEX email_jobs_replays ON notify.email_jobs (replay_of) WHERE replay_of IS NOT NULL;
    COMMENT ON INDEX notify.email_jobs_replays IS 'Deleting a letter unties its replays.';
    CREATE INDEX email_jobs_leader ON notify.email_jobs (leader_id) WHERE leader_id IS NOT NULL;
    COMMENT ON INDEX notify.email_jobs_leader IS 'The delivery takes what leaves with a letter; deleting a letter unties what left with it.';
    COMMENT ON TABLE notify.email_jobs IS 'One row for every person an event concerned: the letter, or why there is none.';
    COMMENT ON COLUMN notify.email_jobs.id IS 'Ascending number of the row.';
    COMMENT ON COLUMN notify.email_jobs.event_id IS 'The event it tells of.';
    COMMENT ON COLUMN notify.email_jobs.event_type IS 'The event''s type.';
    COMMENT ON COLUMN notify.email_jobs.cl_link IS 'The event''s change list.';
    COMMENT ON COLUMN notify.email_jobs.username IS 'Whom the event concerned.';
    COMMENT ON COLUMN notify.email_jobs.to_email IS 'Address at the fan-out or the last look; null where none was usable.';
    COMMENT ON COLUMN notify.email_jobs.reason IS 'Why the event concerned the person: author, reviewer.';
    COMMENT ON COLUMN notify.email_jobs.status IS 'pending, or how it ended; who is sending it is in work_items.';
    COMMENT ON COLUMN notify.email_jobs.attempts IS 'How many attempts were begun when it ended last; 0: it never has.';
    COMMENT ON COLUMN notify.email_jobs.lapses IS 'How many workers had vanished with it when it ended last; 0: it never has.';
    COMMENT ON COLUMN notify.email_jobs.expires_at IS 'After this instant the letter is not worth sending.';
    COMMENT ON COLUMN notify.email_jobs.message_id IS 'Message-ID without brackets, the same at every try; null for a row that was born skipped.';
    COMMENT ON COLUMN notify.email_jobs.outcome_reason IS 'Why skipped, dead or cancelled, or why the last try failed; null before.';
    COMMENT ON COLUMN notify.email_jobs.last_code IS 'SMTP reply code of the last try; null if there was no reply.';
    COMMENT ON COLUMN notify.email_jobs.last_enhanced_code IS 'RFC 3463 code of the last try; null if there was none.';
    COMMENT ON COLUMN notify.email_jobs.last_error IS 'The relay''s words at the last try that failed; never a credential.';
    COMMENT ON COLUMN notify.email_jobs.relay_reply IS 'The relay''s words when it took the letter; null unless sent.';
    COMMENT ON COLUMN notify.email_jobs.replay_of IS 'The job that this one repeats by hand; null for the letter itself.';
    COMMENT ON COLUMN notify.email_jobs.created_at IS 'When the fan-out wrote it.';
    COMMENT ON COLUMN notify.email_jobs.finished_at IS 'When it reached its final status; null before.';
    COMMENT ON COLUMN notify.email_jobs.leader_id IS 'The job whose letter tells of this event too; null: a letter of its own. Until that letter''s end this row has no work item.';
    COMMENT ON COLUMN notify.email_jobs.carried_as IS 'Message-ID of the letter that tells of several events; null: a letter of its own.';
    COMMENT ON COLUMN notify.email_jobs.held_by IS 'What the letter waits or has waited for: hourly, daily, weekly (a digest), quiet_hours, pause; null: nothing.';
    COMMENT ON COLUMN notify.email_jobs.relay IS 'host:port of the relay that took the letter; null unless sent.';
    COMMENT ON COLUMN notify.email_jobs.sent_in_ms IS 'How long the try took that the relay ended with yes, from its first word; null unless sent.';

    CREATE TABLE notify.letter_groups (
        username TEXT NOT NULL,
        cl_link TEXT NOT NULL,
        last_at TIMESTAMP WITH TIME ZONE NOT NULL,
        leader_id BIGINT,
        held_until TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
        CONSTRAINT letter_groups_pkey PRIMARY KEY (username, cl_link, held_until)
    );
    COMMENT ON TABLE notify.letter_groups IS 'Letters that leave together: a person''s about a change list, or all that are held until one instant. Whoever writes such a letter locks the row first.';
    COMMENT ON COLUMN notify.letter_groups.username IS 'To whom.';
    COMMENT ON COLUMN notify.letter_groups.cl_link IS 'About which change list; empty: about any, held until an instant.';
    COMMENT ON COLUMN notify.letter_groups.last_at IS 'When the last letter left, or will leave.';
    COMMENT ON COLUMN notify.letter_groups.leader_id IS 'The job whose letter others join while nobody has claimed it; null: none. May be gone.';
    COMMENT ON COLUMN notify.letter_groups.held_until IS 'Until when these are held; -infinity: they are not.';

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
    COMMENT ON INDEX notify.email_attempts_job IS 'People ask for the tries of a letter; deleting a letter deletes them.';
    COMMENT ON TABLE notify.email_attempts IS 'Every try that did not end in sent; append-only.';
    COMMENT ON COLUMN notify.email_attempts.id IS 'Ascending number of the row.';
    COMMENT ON COLUMN notify.email_attempts.job_id IS 'The job that was tried.';
    COMMENT ON COLUMN notify.email_attempts.attempt IS 'Which try; with job_id it names the try.';
    COMMENT ON COLUMN notify.email_attempts.at IS 'When the outcome was recorded.';
    COMMENT ON COLUMN notify.email_attempts.phase IS 'Where in the conversation it ended; null if it never began.';
    COMMENT ON COLUMN notify.email_attempts.code IS 'SMTP reply code; null if the relay said nothing.';
    COMMENT ON COLUMN notify.email_attempts.enhanced_code IS 'RFC 3463 code; null if there was none.';
    COMMENT ON COLUMN notify.email_attempts.text IS 'The relay''s words, at most 1 KiB; never a credential.';
    COMMENT ON COLUMN notify.email_attempts.verdict IS 'retry, dead, skipped, expired or released, then the reason.';
    COMMENT ON COLUMN notify.email_attempts.relay IS 'host:port of the relay; null if none was asked.';
    COMMENT ON COLUMN notify.email_attempts.took_ms IS 'How long the try took, from its first word to its end; null if no letter was written.';
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE notify.email_attempts")
    op.execute("DROP TABLE notify.letter_groups")
    op.execute("DROP TABLE notify.email_jobs")
    op.execute("DROP TABLE notify.events")
    op.execute("DROP TABLE notify.work_items")
