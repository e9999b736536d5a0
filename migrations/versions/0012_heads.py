"""
Add queues of heads: requests, their builds, and what was found out about commits.

Phase: add          Locks: 7 new tables; four new rows
Runs:  before the code that reads them          Undo: drops the tables and what is in them, and the rows
"""

from alembic import op

revision = "0012"
down_revision = "0011"

SCHEMA = """
    CREATE TABLE notify.queues (
        name TEXT NOT NULL,
        last_green_uri TEXT,
        last_green_request_id BIGINT,
        in_flight BIGINT[] DEFAULT '{}' NOT NULL,
        in_flight_count INTEGER DEFAULT 0 NOT NULL,
        latest_request_id BIGINT DEFAULT 0 NOT NULL,
        version INTEGER NOT NULL,
        CONSTRAINT queues_pkey PRIMARY KEY (name),
        CONSTRAINT queues_last_green_check CHECK ((last_green_uri IS NULL) = (last_green_request_id IS NULL)),
        CONSTRAINT queues_in_flight_check CHECK (in_flight_count = cardinality(in_flight)),
        CONSTRAINT queues_latest_check CHECK (last_green_request_id <= latest_request_id)
    );
    COMMENT ON TABLE notify.queues IS 'Queues whose heads are validated.';
    COMMENT ON COLUMN notify.queues.name IS 'Name of the queue in NOTIFY_FORGES_FILE.';
    COMMENT ON COLUMN notify.queues.last_green_uri IS 'Newest head that was found green; null: none was.';
    COMMENT ON COLUMN notify.queues.last_green_request_id IS 'The request that found it; null with the URI.';
    COMMENT ON COLUMN notify.queues.in_flight IS 'Numbers of the requests that have a slot.';
    COMMENT ON COLUMN notify.queues.in_flight_count IS 'How many they are.';
    COMMENT ON COLUMN notify.queues.latest_request_id IS 'Number of the newest request; 0: there is none.';
    COMMENT ON COLUMN notify.queues.version IS 'Rises at every write; writers compare it.';

    CREATE TABLE notify.requests (
        queue TEXT NOT NULL,
        id BIGINT NOT NULL,
        item_id BIGINT GENERATED ALWAYS AS IDENTITY,
        uri TEXT NOT NULL,
        state TEXT DEFAULT 'accepted' NOT NULL,
        build_strategy TEXT,
        base_uri TEXT,
        forced BOOLEAN DEFAULT false NOT NULL,
        version INTEGER NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        finished_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT requests_pkey PRIMARY KEY (queue, id),
        CONSTRAINT requests_item_id_key UNIQUE (item_id),
        CONSTRAINT requests_id_check CHECK (id > 0),
        CONSTRAINT requests_state_check CHECK (state IN ('accepted', 'processing', 'superseded', 'succeeded', 'failed', 'cancelled')),
        CONSTRAINT requests_finished_when_final_check CHECK ((finished_at IS NULL) = (state IN ('accepted', 'processing'))),
        CONSTRAINT requests_forced_check CHECK (state = 'failed' OR NOT forced),
        CONSTRAINT requests_build_strategy_check CHECK (build_strategy IN ('full', 'incremental')),
        CONSTRAINT requests_base_check CHECK ((base_uri IS NOT NULL) = (build_strategy IS NOT DISTINCT FROM 'incremental'))
    );
    CREATE INDEX requests_unfinished ON notify.requests (queue, id) WHERE finished_at IS NULL;
    COMMENT ON INDEX notify.requests_unfinished IS 'Who waits for a slot.';
    COMMENT ON TABLE notify.requests IS 'Requests: one validation of one queue at one commit.';
    COMMENT ON COLUMN notify.requests.queue IS 'Name of the queue.';
    COMMENT ON COLUMN notify.requests.id IS 'Number of the request, from 1 in each queue.';
    COMMENT ON COLUMN notify.requests.item_id IS 'Id of its work item; rises with time.';
    COMMENT ON COLUMN notify.requests.uri IS 'The head to be validated.';
    COMMENT ON COLUMN notify.requests.state IS 'accepted, processing, superseded, succeeded, failed or cancelled.';
    COMMENT ON COLUMN notify.requests.build_strategy IS 'full or incremental; null: not decided yet.';
    COMMENT ON COLUMN notify.requests.base_uri IS 'The green head that an incremental build starts from; null: none.';
    COMMENT ON COLUMN notify.requests.forced IS 'Failed because it could not be validated.';
    COMMENT ON COLUMN notify.requests.version IS 'Rises at every write; writers compare it.';
    COMMENT ON COLUMN notify.requests.created_at IS 'When the head was seen first.';
    COMMENT ON COLUMN notify.requests.finished_at IS 'When it reached its final state; null before.';

    CREATE TABLE notify.request_uris (
        queue TEXT NOT NULL,
        uri TEXT NOT NULL,
        request_id BIGINT NOT NULL,
        CONSTRAINT request_uris_pkey PRIMARY KEY (queue, uri)
    );
    COMMENT ON TABLE notify.request_uris IS 'Which request has a head: one each.';
    COMMENT ON COLUMN notify.request_uris.queue IS 'Name of the queue.';
    COMMENT ON COLUMN notify.request_uris.uri IS 'A head.';
    COMMENT ON COLUMN notify.request_uris.request_id IS 'Number of the request that validates it.';

    CREATE TABLE notify.builds (
        queue TEXT NOT NULL,
        id TEXT NOT NULL,
        request_id BIGINT NOT NULL,
        status TEXT DEFAULT 'running' NOT NULL,
        url TEXT,
        projects JSONB DEFAULT '{}' NOT NULL,
        version INTEGER NOT NULL,
        CONSTRAINT builds_pkey PRIMARY KEY (queue, id),
        CONSTRAINT builds_queue_request_id_key UNIQUE (queue, request_id),
        CONSTRAINT builds_status_check CHECK (status IN ('running', 'success', 'failure', 'timed_out', 'skipped', 'cancelled', 'unexpected_error'))
    );
    COMMENT ON TABLE notify.builds IS 'Builds of requests, one each.';
    COMMENT ON COLUMN notify.builds.queue IS 'Name of the queue.';
    COMMENT ON COLUMN notify.builds.id IS 'The runner''s name for it.';
    COMMENT ON COLUMN notify.builds.request_id IS 'Number of the request that it validates.';
    COMMENT ON COLUMN notify.builds.status IS 'running, success, failure, timed_out, skipped, cancelled or unexpected_error.';
    COMMENT ON COLUMN notify.builds.url IS 'Its page; null: it has none.';
    COMMENT ON COLUMN notify.builds.projects IS 'How broken each project is, by name, as the runner said.';
    COMMENT ON COLUMN notify.builds.version IS 'Rises at every write; writers compare it.';

    CREATE TABLE notify.facts (
        queue TEXT NOT NULL,
        uri TEXT NOT NULL,
        project TEXT NOT NULL,
        degree DOUBLE PRECISION NOT NULL,
        request_id BIGINT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT facts_pkey PRIMARY KEY (queue, uri, project),
        CONSTRAINT facts_degree_check CHECK (degree >= 0 AND degree <= 1)
    );
    CREATE INDEX facts_request ON notify.facts (queue, request_id);
    COMMENT ON INDEX notify.facts_request IS 'What a request found out; the fact before a request.';
    COMMENT ON TABLE notify.facts IS 'What was found out about heads; written once.';
    COMMENT ON COLUMN notify.facts.queue IS 'Name of the queue.';
    COMMENT ON COLUMN notify.facts.uri IS 'A head.';
    COMMENT ON COLUMN notify.facts.project IS 'Project; empty: the whole repository.';
    COMMENT ON COLUMN notify.facts.degree IS 'How broken: 0 green to 1 fully broken.';
    COMMENT ON COLUMN notify.facts.request_id IS 'Number of the request that found it out.';
    COMMENT ON COLUMN notify.facts.created_at IS 'When.';

    CREATE TABLE notify.queue_polls (
        queue TEXT NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE NOT NULL,
        fault TEXT,
        fault_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT queue_polls_pkey PRIMARY KEY (queue),
        CONSTRAINT queue_polls_fault_check CHECK ((fault IS NULL) = (fault_at IS NULL)),
        CONSTRAINT queue_polls_fault_length_check CHECK (octet_length(fault) <= 1024)
    );
    COMMENT ON TABLE notify.queue_polls IS 'When queues are looked at.';
    COMMENT ON COLUMN notify.queue_polls.queue IS 'Name of the queue.';
    COMMENT ON COLUMN notify.queue_polls.due_at IS 'Its ref is looked at again from then on.';
    COMMENT ON COLUMN notify.queue_polls.fault IS 'Why the last look failed; null: it did not.';
    COMMENT ON COLUMN notify.queue_polls.fault_at IS 'Since when looks fail; null with fault.';

    CREATE TABLE notify.counters (
        queue TEXT NOT NULL,
        domain TEXT NOT NULL,
        value BIGINT NOT NULL,
        CONSTRAINT counters_pkey PRIMARY KEY (queue, domain)
    );
    COMMENT ON TABLE notify.counters IS 'Counters of queues.';
    COMMENT ON COLUMN notify.counters.queue IS 'Name of the queue.';
    COMMENT ON COLUMN notify.counters.domain IS 'What is counted.';
    COMMENT ON COLUMN notify.counters.value IS 'The last value that was given.';
"""


def upgrade() -> None:
    """Create the tables, and insert the rows unless they are there."""
    op.execute(SCHEMA)
    op.execute("""
        INSERT INTO notify.notification_event_types
            (code, category, description, system_required, default_enabled, bundle_within)
        VALUES
            ('queue.head.broken', 'Queues', 'The head of a queue is broken, and a change of yours is in it.', false, true, NULL),
            ('queue.head.recovered', 'Queues', 'A queue that you were told is broken is green again.', false, true, NULL),
            ('queue.head.validated', 'Queues', 'A head of a queue you subscribed to is green.', false, false, NULL),
            ('queue.request.stuck', 'Operators', 'A head could not be validated.', true, true, NULL)
        ON CONFLICT (code) DO NOTHING
    """)


def downgrade() -> None:
    """Drop the tables, and delete the rows and the preferences about them."""
    for table in ("queue_polls", "counters", "facts", "builds", "request_uris", "requests", "queues"):
        op.execute(f"DROP TABLE notify.{table}")
    op.execute("DELETE FROM notify.notification_event_types WHERE code LIKE 'queue.%%'")
