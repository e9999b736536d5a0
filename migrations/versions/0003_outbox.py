"""
Create the outbox: events, email_jobs, email_attempts.

Phase: add          Locks: three new tables, nobody waits
Runs:  before the code that reads them          Undo: drops the tables and what is in them
"""

from alembic import op

revision = "0003"
down_revision = "0002"

SCHEMA = """
    CREATE TABLE notify.events (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        key TEXT NOT NULL,
        type TEXT NOT NULL,
        cl_link TEXT NOT NULL,
        actor TEXT NOT NULL,
        occurred_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        payload JSONB DEFAULT '{}'::jsonb NOT NULL,
        status TEXT DEFAULT 'pending' NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE DEFAULT now(),
        attempt INTEGER DEFAULT 0 NOT NULL,
        failures INTEGER DEFAULT 0 NOT NULL,
        max_failures INTEGER DEFAULT 10 NOT NULL,
        lapses INTEGER DEFAULT 0 NOT NULL,
        leased_by UUID,
        priority SMALLINT DEFAULT 1 NOT NULL,
        last_error TEXT,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        finished_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT events_pkey PRIMARY KEY (id),
        CONSTRAINT events_key_key UNIQUE (key),
        CONSTRAINT events_status_check CHECK (status IN ('pending', 'working', 'done', 'dead')),
        CONSTRAINT events_due_until_final_check CHECK ((due_at IS NULL) = (status IN ('done', 'dead'))),
        CONSTRAINT events_finished_when_final_check CHECK ((finished_at IS NOT NULL) = (status IN ('done', 'dead'))),
        CONSTRAINT events_attempt_check CHECK (attempt >= 0),
        CONSTRAINT events_failures_check CHECK (failures >= 0 AND failures <= max_failures),
        CONSTRAINT events_lapses_check CHECK (lapses >= 0),
        CONSTRAINT events_priority_check CHECK (priority BETWEEN 0 AND 2),
        CONSTRAINT events_last_error_check CHECK (octet_length(last_error) <= 1024)
    );
    CREATE INDEX events_due ON notify.events (priority, due_at, id) WHERE due_at IS NOT NULL;
    CREATE INDEX events_finished ON notify.events (finished_at) WHERE finished_at IS NOT NULL;
    CREATE INDEX events_lapsed ON notify.events (due_at) WHERE status = 'working';
    COMMENT ON INDEX notify.events_due IS 'The fan-out claims due events, urgent first.';
    COMMENT ON INDEX notify.events_lapsed IS 'The fan-out finds events whose worker vanished.';
    COMMENT ON INDEX notify.events_finished IS 'Upkeep prunes old events.';
    COMMENT ON TABLE notify.events IS 'What happened, until it is fanned out and after.';
    COMMENT ON COLUMN notify.events.id IS 'Ascending number of the row.';
    COMMENT ON COLUMN notify.events.key IS 'The producer''s idempotency key.';
    COMMENT ON COLUMN notify.events.type IS 'Event type: cl.comment.created.';
    COMMENT ON COLUMN notify.events.cl_link IS 'The change list it happened on.';
    COMMENT ON COLUMN notify.events.actor IS 'Username of who did it.';
    COMMENT ON COLUMN notify.events.occurred_at IS 'When it happened, by the producer.';
    COMMENT ON COLUMN notify.events.payload IS 'What the type carries besides: for cl.comment.created the comment.';
    COMMENT ON COLUMN notify.events.status IS 'Where it stands.';
    COMMENT ON COLUMN notify.events.due_at IS 'Nobody may take the row before this instant; null means finished. A claim pushes it to the end of the lease, a retry by the backoff.';
    COMMENT ON COLUMN notify.events.attempt IS 'Rises by one at every claim and never falls; (id, attempt) names one try.';
    COMMENT ON COLUMN notify.events.failures IS 'Tries that the other side answered with: no, later.';
    COMMENT ON COLUMN notify.events.max_failures IS 'Retry budget; the failure that reaches it ends the row.';
    COMMENT ON COLUMN notify.events.lapses IS 'Leases that ran out with no outcome recorded; the third ends the row.';
    COMMENT ON COLUMN notify.events.leased_by IS 'Worker process that claimed the row last, for people to look at; null before the first claim.';
    COMMENT ON COLUMN notify.events.priority IS '0 urgent (system-required), 1 normal, 2 bulk; claimed in that order.';
    COMMENT ON COLUMN notify.events.last_error IS 'Why the last try failed or the event is dead; null before.';
    COMMENT ON COLUMN notify.events.created_at IS 'When it was received.';
    COMMENT ON COLUMN notify.events.finished_at IS 'When it was fanned out or died; null before.';

    CREATE TABLE notify.email_jobs (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        event_id BIGINT NOT NULL,
        event_type TEXT NOT NULL,
        cl_link TEXT NOT NULL,
        username TEXT NOT NULL,
        to_email TEXT,
        reason TEXT NOT NULL,
        status TEXT DEFAULT 'pending' NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE DEFAULT now(),
        attempt INTEGER DEFAULT 0 NOT NULL,
        failures INTEGER DEFAULT 0 NOT NULL,
        max_failures INTEGER DEFAULT 12 NOT NULL,
        lapses INTEGER DEFAULT 0 NOT NULL,
        leased_by UUID,
        priority SMALLINT DEFAULT 1 NOT NULL,
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
        CONSTRAINT email_jobs_pkey PRIMARY KEY (id),
        CONSTRAINT email_jobs_message_id_key UNIQUE (message_id),
        CONSTRAINT email_jobs_status_check CHECK (status IN ('pending', 'sending', 'sent', 'skipped', 'dead', 'expired', 'cancelled')),
        CONSTRAINT email_jobs_due_until_final_check CHECK ((due_at IS NULL) = (status IN ('sent', 'skipped', 'dead', 'expired', 'cancelled'))),
        CONSTRAINT email_jobs_finished_when_final_check CHECK ((finished_at IS NOT NULL) = (status IN ('sent', 'skipped', 'dead', 'expired', 'cancelled'))),
        CONSTRAINT email_jobs_attempt_check CHECK (attempt >= 0),
        CONSTRAINT email_jobs_failures_check CHECK (failures >= 0 AND failures <= max_failures),
        CONSTRAINT email_jobs_lapses_check CHECK (lapses >= 0),
        CONSTRAINT email_jobs_priority_check CHECK (priority BETWEEN 0 AND 2),
        CONSTRAINT email_jobs_last_error_check CHECK (octet_length(last_error) <= 1024),
        CONSTRAINT email_jobs_relay_reply_check CHECK (octet_length(relay_reply) <= 1024),
        CONSTRAINT email_jobs_addressed_unless_skipped_check CHECK (status = 'skipped' OR (to_email IS NOT NULL AND message_id IS NOT NULL)),
        CONSTRAINT email_jobs_reasoned_check CHECK (status NOT IN ('skipped', 'dead') OR outcome_reason IS NOT NULL),
        CONSTRAINT email_jobs_event_id_fkey FOREIGN KEY(event_id) REFERENCES notify.events (id),
        CONSTRAINT email_jobs_replay_of_fkey FOREIGN KEY(replay_of) REFERENCES notify.email_jobs (id) ON DELETE SET NULL
    );
    CREATE INDEX email_jobs_cl ON notify.email_jobs (cl_link, id);
    CREATE INDEX email_jobs_due ON notify.email_jobs (priority, due_at, id) WHERE due_at IS NOT NULL;
    CREATE INDEX email_jobs_finished ON notify.email_jobs (finished_at) WHERE finished_at IS NOT NULL;
    CREATE INDEX email_jobs_lapsed ON notify.email_jobs (due_at) WHERE status = 'sending';
    CREATE INDEX email_jobs_event ON notify.email_jobs (event_id);
    CREATE UNIQUE INDEX email_jobs_once ON notify.email_jobs (event_id, username) WHERE replay_of IS NULL;
    CREATE UNIQUE INDEX email_jobs_open_replay ON notify.email_jobs (replay_of) WHERE replay_of IS NOT NULL AND due_at IS NOT NULL;
    CREATE INDEX email_jobs_person ON notify.email_jobs (username, id);
    CREATE INDEX email_jobs_replays ON notify.email_jobs (replay_of) WHERE replay_of IS NOT NULL;
    COMMENT ON INDEX notify.email_jobs_once IS 'The fan-out writes one letter a person and event, however often it runs.';
    COMMENT ON INDEX notify.email_jobs_due IS 'The delivery claims due letters, urgent first.';
    COMMENT ON INDEX notify.email_jobs_lapsed IS 'The delivery finds letters whose worker vanished.';
    COMMENT ON INDEX notify.email_jobs_finished IS 'Upkeep prunes old letters.';
    COMMENT ON INDEX notify.email_jobs_event IS 'People ask what became of an event; upkeep asks whether an event still has letters.';
    COMMENT ON INDEX notify.email_jobs_person IS 'People ask for somebody''s letters, newest first.';
    COMMENT ON INDEX notify.email_jobs_cl IS 'People ask for the letters about a change list, newest first.';
    COMMENT ON INDEX notify.email_jobs_open_replay IS 'A letter is replayed once at a time.';
    COMMENT ON INDEX notify.email_jobs_replays IS 'Deleting a letter unties its replays.';
    COMMENT ON TABLE notify.email_jobs IS 'One row for every person an event concerned: the letter, or why there is none.';
    COMMENT ON COLUMN notify.email_jobs.id IS 'Ascending number of the row.';
    COMMENT ON COLUMN notify.email_jobs.event_id IS 'The event it tells of.';
    COMMENT ON COLUMN notify.email_jobs.event_type IS 'The event''s type.';
    COMMENT ON COLUMN notify.email_jobs.cl_link IS 'The event''s change list.';
    COMMENT ON COLUMN notify.email_jobs.username IS 'Whom the event concerned.';
    COMMENT ON COLUMN notify.email_jobs.to_email IS 'Address at the fan-out or the last look; null where none was usable.';
    COMMENT ON COLUMN notify.email_jobs.reason IS 'Why the event concerned the person: author, reviewer.';
    COMMENT ON COLUMN notify.email_jobs.status IS 'Where it stands.';
    COMMENT ON COLUMN notify.email_jobs.due_at IS 'Nobody may take the row before this instant; null means finished. A claim pushes it to the end of the lease, a retry by the backoff.';
    COMMENT ON COLUMN notify.email_jobs.attempt IS 'Rises by one at every claim and never falls; (id, attempt) names one try.';
    COMMENT ON COLUMN notify.email_jobs.failures IS 'Tries that the other side answered with: no, later.';
    COMMENT ON COLUMN notify.email_jobs.max_failures IS 'Retry budget; the failure that reaches it ends the row.';
    COMMENT ON COLUMN notify.email_jobs.lapses IS 'Leases that ran out with no outcome recorded; the third ends the row.';
    COMMENT ON COLUMN notify.email_jobs.leased_by IS 'Worker process that claimed the row last, for people to look at; null before the first claim.';
    COMMENT ON COLUMN notify.email_jobs.priority IS '0 urgent (system-required), 1 normal, 2 bulk; claimed in that order.';
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
        CONSTRAINT email_attempts_pkey PRIMARY KEY (id),
        CONSTRAINT email_attempts_text_check CHECK (octet_length(text) <= 1024),
        CONSTRAINT email_attempts_job_id_fkey FOREIGN KEY(job_id) REFERENCES notify.email_jobs (id) ON DELETE CASCADE
    );
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
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE notify.email_attempts")
    op.execute("DROP TABLE notify.email_jobs")
    op.execute("DROP TABLE notify.events")
