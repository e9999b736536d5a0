"""
Let letters leave together: email_jobs.leader_id and carried_as, letter_groups, notification_event_types.together_within.

Phase: add          Locks: email_jobs, exclusive, no rewrite (nullable columns); writes wait for one pass that builds an index
Runs:  before the code that reads them          Undo: whoever waits for another letter goes alone; drops what was added

Workers of the code before send a leader alone; upkeep lets those go that waited for it.
"""

from alembic import op

revision = "0012"
down_revision = "0011"

SCHEMA = """
    ALTER TABLE notify.email_jobs
        ADD COLUMN leader_id BIGINT,
        ADD COLUMN carried_as TEXT,
        ADD CONSTRAINT email_jobs_leader_id_fkey FOREIGN KEY(leader_id)
            REFERENCES notify.email_jobs (id) ON DELETE SET NULL,
        ADD CONSTRAINT email_jobs_carried_with_leader_check CHECK (leader_id IS NULL OR carried_as IS NOT NULL);
    COMMENT ON COLUMN notify.email_jobs.leader_id IS 'The job whose letter tells of this event too; null: a letter of its own. Until that letter''s end this row is not claimed by itself.';
    COMMENT ON COLUMN notify.email_jobs.carried_as IS 'Message-ID of the letter that tells of several events; null: a letter of its own.';
    CREATE INDEX email_jobs_leader ON notify.email_jobs (leader_id) WHERE leader_id IS NOT NULL;
    COMMENT ON INDEX notify.email_jobs_leader IS 'The delivery takes what leaves with a letter; deleting a letter unties what left with it.';

    CREATE TABLE notify.letter_groups (
        username TEXT NOT NULL,
        cl_link TEXT NOT NULL,
        last_at TIMESTAMP WITH TIME ZONE NOT NULL,
        leader_id BIGINT,
        CONSTRAINT letter_groups_pkey PRIMARY KEY (username, cl_link)
    );
    COMMENT ON TABLE notify.letter_groups IS 'How a person''s letters about a change list follow each other. Whoever writes such a letter locks the row first.';
    COMMENT ON COLUMN notify.letter_groups.username IS 'To whom.';
    COMMENT ON COLUMN notify.letter_groups.cl_link IS 'About which change list.';
    COMMENT ON COLUMN notify.letter_groups.last_at IS 'When the last letter left, or will leave.';
    COMMENT ON COLUMN notify.letter_groups.leader_id IS 'The job whose letter others join while nobody has claimed it; null: none. May be gone.';

    ALTER TABLE notify.notification_event_types
        ADD COLUMN together_within INTERVAL,
        ADD CONSTRAINT notification_event_types_together_within_check
            CHECK (together_within BETWEEN interval '0' AND interval '1 day');
    COMMENT ON COLUMN notify.notification_event_types.together_within IS 'So long after a letter further ones to the person about the change list wait to leave as one; null: the deployment''s default, 0: never.';
"""

UNDO = """
    UPDATE notify.email_jobs SET due_at = now() WHERE leader_id IS NOT NULL AND due_at IS NOT NULL;
    ALTER TABLE notify.email_jobs DROP COLUMN leader_id, DROP COLUMN carried_as;
    DROP TABLE notify.letter_groups;
    ALTER TABLE notify.notification_event_types DROP COLUMN together_within;
"""


def upgrade() -> None:
    """Add the columns and the table."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Let everybody go, and drop them."""
    op.execute(UNDO)
