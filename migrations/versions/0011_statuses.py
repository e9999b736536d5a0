"""
Add what is wanted and shown on commits, its attempts, and pauses of installations.

Phase: add          Locks: 3 new tables, nobody waits
Runs:  before the code that reads them          Undo: drops the tables and what is in them
"""

from alembic import op

revision = "0011"
down_revision = "0010"

SCHEMA = """
    CREATE TABLE notify.forge_installations (
        forge TEXT NOT NULL,
        installation BIGINT NOT NULL,
        paused_until TIMESTAMP WITH TIME ZONE NOT NULL,
        pauses INTEGER DEFAULT 1 NOT NULL,
        CONSTRAINT forge_installations_pkey PRIMARY KEY (forge, installation)
    );
    COMMENT ON TABLE notify.forge_installations IS 'Installations that limit the rate. One that never did has no row.';
    COMMENT ON COLUMN notify.forge_installations.forge IS 'Name of the forge.';
    COMMENT ON COLUMN notify.forge_installations.installation IS 'The forge''s number of the app''s installation.';
    COMMENT ON COLUMN notify.forge_installations.paused_until IS 'Rate limited: nothing is asked with its token before this instant.';
    COMMENT ON COLUMN notify.forge_installations.pauses IS 'Pauses in a row without a stated end; doubles the next.';

    CREATE TABLE notify.commit_statuses (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        forge TEXT NOT NULL,
        repository TEXT NOT NULL,
        renamed_to TEXT,
        sha TEXT NOT NULL,
        context TEXT NOT NULL,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        description TEXT,
        target_url TEXT,
        output JSONB,
        wanted_version INTEGER NOT NULL,
        applied_version INTEGER DEFAULT 0 NOT NULL,
        applied_state TEXT,
        status TEXT DEFAULT 'pending' NOT NULL,
        outcome_reason TEXT,
        last_code SMALLINT,
        last_error TEXT,
        remote_id BIGINT,
        replaced INTEGER DEFAULT 0 NOT NULL,
        attempts INTEGER DEFAULT 0 NOT NULL,
        labelled BOOLEAN DEFAULT false NOT NULL,
        started_at TIMESTAMP WITH TIME ZONE,
        completed_at TIMESTAMP WITH TIME ZONE,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        published_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        applied_at TIMESTAMP WITH TIME ZONE,
        finished_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT commit_statuses_pkey PRIMARY KEY (id),
        CONSTRAINT commit_statuses_kind_check CHECK (kind IN ('status', 'check_run')),
        CONSTRAINT commit_statuses_state_check CHECK (state IN ('pending', 'success', 'failure', 'error', 'warning', 'skipped', 'queued', 'in_progress', 'neutral', 'cancelled', 'timed_out', 'action_required')),
        CONSTRAINT commit_statuses_status_check CHECK (status IN ('pending', 'applied', 'dead', 'skipped', 'cancelled')),
        CONSTRAINT commit_statuses_finished_when_final_check CHECK ((finished_at IS NULL) = (status = 'pending')),
        CONSTRAINT commit_statuses_reasoned_check CHECK (status NOT IN ('dead', 'skipped', 'cancelled') OR outcome_reason IS NOT NULL),
        CONSTRAINT commit_statuses_applied_what_is_wanted_check CHECK (status <> 'applied' OR applied_version = wanted_version),
        CONSTRAINT commit_statuses_versions_check CHECK (applied_version BETWEEN 0 AND wanted_version AND wanted_version > 0),
        CONSTRAINT commit_statuses_applied_check CHECK ((applied_version = 0) = (applied_at IS NULL) AND (applied_at IS NULL) = (applied_state IS NULL)),
        CONSTRAINT commit_statuses_output_check CHECK (kind = 'check_run' OR output IS NULL),
        CONSTRAINT commit_statuses_outcome_reason_check CHECK (octet_length(outcome_reason) <= 1024),
        CONSTRAINT commit_statuses_last_error_check CHECK (octet_length(last_error) <= 1024),
        CONSTRAINT commit_statuses_counts_check CHECK (replaced >= 0 AND attempts >= 0)
    )
     WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 1000, fillfactor = 60);
    CREATE UNIQUE INDEX commit_statuses_target ON notify.commit_statuses (sha, context, forge, lower(repository));
    COMMENT ON INDEX notify.commit_statuses_target IS 'Publishing looks for the target; people ask what is shown on a commit.';
    COMMENT ON TABLE notify.commit_statuses IS 'One row for each context of a commit: what is wanted there, and what the forge shows.';
    COMMENT ON COLUMN notify.commit_statuses.id IS 'Id; rises with time.';
    COMMENT ON COLUMN notify.commit_statuses.forge IS 'Name of the forge in NOTIFY_FORGES_FILE.';
    COMMENT ON COLUMN notify.commit_statuses.repository IS 'owner/name, as it was published first.';
    COMMENT ON COLUMN notify.commit_statuses.renamed_to IS 'owner/name today, if the forge has said that it is another; null: it has not.';
    COMMENT ON COLUMN notify.commit_statuses.sha IS 'The commit.';
    COMMENT ON COLUMN notify.commit_statuses.context IS 'Names the status on its commit; of a check run its name.';
    COMMENT ON COLUMN notify.commit_statuses.kind IS 'Wanted: status or check_run.';
    COMMENT ON COLUMN notify.commit_statuses.state IS 'Wanted state; of a completed check run its conclusion.';
    COMMENT ON COLUMN notify.commit_statuses.description IS 'Wanted line; null: none.';
    COMMENT ON COLUMN notify.commit_statuses.target_url IS 'Wanted address where people read more; null: none.';
    COMMENT ON COLUMN notify.commit_statuses.output IS 'Wanted title, summary, text and annotations of a check run; null: none.';
    COMMENT ON COLUMN notify.commit_statuses.wanted_version IS 'How often it was published.';
    COMMENT ON COLUMN notify.commit_statuses.applied_version IS 'The version that the forge shows; 0: none.';
    COMMENT ON COLUMN notify.commit_statuses.applied_state IS 'The state that the forge shows; null: none.';
    COMMENT ON COLUMN notify.commit_statuses.status IS 'pending, applied, dead, skipped or cancelled.';
    COMMENT ON COLUMN notify.commit_statuses.outcome_reason IS 'Why it is dead, skipped or cancelled; or why the last attempt failed.';
    COMMENT ON COLUMN notify.commit_statuses.last_code IS 'HTTP status of the last attempt, if that failed; null: no answer, or applied.';
    COMMENT ON COLUMN notify.commit_statuses.last_error IS 'The forge''s words in the last attempt, if that failed; no credentials; null: none.';
    COMMENT ON COLUMN notify.commit_statuses.remote_id IS 'The forge''s number of the check run; null: none is known.';
    COMMENT ON COLUMN notify.commit_statuses.replaced IS 'Versions that were replaced before they were applied.';
    COMMENT ON COLUMN notify.commit_statuses.attempts IS 'Attempts up to the last that was recorded.';
    COMMENT ON COLUMN notify.commit_statuses.labelled IS 'The pull request has the error label because of it.';
    COMMENT ON COLUMN notify.commit_statuses.started_at IS 'When the check began to run; null: it has not.';
    COMMENT ON COLUMN notify.commit_statuses.completed_at IS 'When the check came to its conclusion; null: it has not.';
    COMMENT ON COLUMN notify.commit_statuses.created_at IS 'When it was published first.';
    COMMENT ON COLUMN notify.commit_statuses.published_at IS 'When it was published last.';
    COMMENT ON COLUMN notify.commit_statuses.applied_at IS 'When the forge was told last; null: never.';
    COMMENT ON COLUMN notify.commit_statuses.finished_at IS 'When it reached its final status; null: pending.';

    CREATE TABLE notify.status_attempts (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        status_id BIGINT NOT NULL,
        attempt INTEGER NOT NULL,
        version INTEGER NOT NULL,
        at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        outcome TEXT NOT NULL,
        request TEXT,
        code SMALLINT,
        text TEXT,
        took_ms INTEGER,
        CONSTRAINT status_attempts_pkey PRIMARY KEY (id),
        CONSTRAINT status_attempts_text_check CHECK (octet_length(text) <= 1024),
        CONSTRAINT status_attempts_request_check CHECK (octet_length(request) <= 1024),
        CONSTRAINT status_attempts_took_ms_check CHECK (took_ms >= 0),
        CONSTRAINT status_attempts_status_id_fkey FOREIGN KEY(status_id) REFERENCES notify.commit_statuses (id) ON DELETE CASCADE
    )
     WITH (autovacuum_vacuum_scale_factor = 0.05);
    CREATE INDEX status_attempts_status ON notify.status_attempts (status_id, id);
    COMMENT ON INDEX notify.status_attempts_status IS 'People list a target''s attempts; deleting the target deletes them.';
    COMMENT ON TABLE notify.status_attempts IS 'One row for each attempt that did not end in applied.';
    COMMENT ON COLUMN notify.status_attempts.id IS 'Id; rises with time.';
    COMMENT ON COLUMN notify.status_attempts.status_id IS 'The target.';
    COMMENT ON COLUMN notify.status_attempts.attempt IS 'Number of the attempt.';
    COMMENT ON COLUMN notify.status_attempts.version IS 'The version that it was to apply.';
    COMMENT ON COLUMN notify.status_attempts.at IS 'When the outcome was recorded.';
    COMMENT ON COLUMN notify.status_attempts.outcome IS 'retry, dead, skipped or released, then a colon and the reason.';
    COMMENT ON COLUMN notify.status_attempts.request IS 'Method and path of the call that failed; null: none was made.';
    COMMENT ON COLUMN notify.status_attempts.code IS 'HTTP status; null: no answer.';
    COMMENT ON COLUMN notify.status_attempts.text IS 'The forge''s words or our error, at most 1 KiB; never contains a credential.';
    COMMENT ON COLUMN notify.status_attempts.took_ms IS 'Duration in milliseconds; null: not known.';
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables and what waits for them."""
    op.execute("DELETE FROM notify.work_items WHERE stage = 'statuses'")
    op.execute("DROP TABLE notify.status_attempts")
    op.execute("DROP TABLE notify.commit_statuses")
    op.execute("DROP TABLE notify.forge_installations")
