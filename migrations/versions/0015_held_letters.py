"""
Let letters be held until an instant and leave as one: email_jobs.held_by, letter_groups.held_until.

Phase: add          Locks: email_jobs, exclusive, no rewrite (nullable column), one pass for the checks;
                    letter_groups, exclusive, no rewrite (constant default), its primary key is built anew
Runs:  before the code that reads them          Undo: what is held goes now; drops what was added

Workers of the code before send what was held when it is due, headed by the change list of the first.
"""

from alembic import op

revision = "0015"
down_revision = "0014"

SCHEMA = """
    ALTER TABLE notify.email_jobs
        ADD COLUMN held_by TEXT,
        ADD CONSTRAINT email_jobs_held_by_check
            CHECK (held_by IN ('hourly', 'daily', 'weekly', 'quiet_hours', 'pause')),
        ADD CONSTRAINT email_jobs_required_not_held_check CHECK (held_by IS NULL OR priority > 0);
    COMMENT ON COLUMN notify.email_jobs.held_by IS 'What the letter waits or has waited for: hourly, daily, weekly (a digest), quiet_hours, pause; null: nothing.';

    ALTER TABLE notify.letter_groups
        ADD COLUMN held_until TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
        DROP CONSTRAINT letter_groups_pkey,
        ADD CONSTRAINT letter_groups_pkey PRIMARY KEY (username, cl_link, held_until);
    COMMENT ON TABLE notify.letter_groups IS 'Letters that leave together: a person''s about a change list, or all that are held until one instant. Whoever writes such a letter locks the row first.';
    COMMENT ON COLUMN notify.letter_groups.cl_link IS 'About which change list; empty: about any, held until an instant.';
    COMMENT ON COLUMN notify.letter_groups.held_until IS 'Until when these are held; -infinity: they are not.';
"""

UNDO = """
    UPDATE notify.email_jobs SET due_at = now() WHERE held_by IS NOT NULL AND leader_id IS NULL AND status = 'pending';
    DELETE FROM notify.letter_groups WHERE held_until > '-infinity';
    ALTER TABLE notify.letter_groups
        DROP CONSTRAINT letter_groups_pkey,
        DROP COLUMN held_until,
        ADD CONSTRAINT letter_groups_pkey PRIMARY KEY (username, cl_link);
    COMMENT ON TABLE notify.letter_groups IS 'How a person''s letters about a change list follow each other. Whoever writes such a letter locks the row first.';
    COMMENT ON COLUMN notify.letter_groups.cl_link IS 'About which change list.';
    ALTER TABLE notify.email_jobs DROP COLUMN held_by;
"""


def upgrade() -> None:
    """Add the columns, and let a group be of letters that are held."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Let everything go, and drop them."""
    op.execute(UNDO)
