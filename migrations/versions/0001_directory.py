"""
Create the directory: people, change lists and who reviews them.

Phase: add          Locks: 3 new tables, nobody waits
Runs:  before the code that reads them          Undo: drops the tables and what is in them
"""

from alembic import op

revision = "0001"
down_revision = None

SCHEMA = """
    CREATE TABLE notify.people (
        username TEXT NOT NULL,
        email TEXT,
        display_name TEXT,
        locale TEXT,
        timezone TEXT,
        is_bot BOOLEAN DEFAULT false NOT NULL,
        active BOOLEAN DEFAULT true NOT NULL,
        undeliverable_email TEXT,
        undeliverable_at TIMESTAMP WITH TIME ZONE,
        undeliverable_reply TEXT,
        CONSTRAINT people_pkey PRIMARY KEY (username),
        CONSTRAINT people_undeliverable_with_instant_check CHECK ((undeliverable_email IS NULL) = (undeliverable_at IS NULL))
    );
    CREATE INDEX people_undeliverable ON notify.people (username) WHERE undeliverable_email IS NOT NULL;
    COMMENT ON INDEX notify.people_undeliverable IS 'Metrics ask how many addresses are undeliverable.';
    COMMENT ON TABLE notify.people IS 'The directory: who reads mail where.';
    COMMENT ON COLUMN notify.people.username IS 'The name the code review tool knows the person by.';
    COMMENT ON COLUMN notify.people.email IS 'Where the person reads mail; null means unknown.';
    COMMENT ON COLUMN notify.people.display_name IS 'The person''s name for others to read; null means the username.';
    COMMENT ON COLUMN notify.people.locale IS 'BCP 47 language tag; null means the deployment''s default.';
    COMMENT ON COLUMN notify.people.timezone IS 'IANA time zone; null means UTC.';
    COMMENT ON COLUMN notify.people.is_bot IS 'Bots get no optional emails.';
    COMMENT ON COLUMN notify.people.active IS 'False means has left; gets no emails.';
    COMMENT ON COLUMN notify.people.undeliverable_email IS 'Address that a relay refused for good; void once the person has another.';
    COMMENT ON COLUMN notify.people.undeliverable_at IS 'When the relay refused it; null with undeliverable_email.';
    COMMENT ON COLUMN notify.people.undeliverable_reply IS 'The relay''s words; null with undeliverable_email.';

    CREATE TABLE notify.change_lists (
        link TEXT NOT NULL,
        title TEXT,
        url TEXT,
        repository TEXT,
        author TEXT,
        state TEXT DEFAULT 'open' NOT NULL,
        state_at TIMESTAMP WITH TIME ZONE,
        first_title TEXT,
        first_repository TEXT,
        CONSTRAINT change_lists_pkey PRIMARY KEY (link),
        CONSTRAINT change_lists_state_check CHECK (state IN ('open', 'merged', 'closed'))
    );
    COMMENT ON TABLE notify.change_lists IS 'The directory: change lists and who wrote them.';
    COMMENT ON COLUMN notify.change_lists.link IS 'Short name of the change list: CL-4821.';
    COMMENT ON COLUMN notify.change_lists.title IS 'One line; null means unknown.';
    COMMENT ON COLUMN notify.change_lists.url IS 'Page of the change list; null means unknown.';
    COMMENT ON COLUMN notify.change_lists.repository IS 'Repository, for the subject of emails; null means unknown.';
    COMMENT ON COLUMN notify.change_lists.author IS 'Username of the author; null means unknown. Need not be in people yet.';
    COMMENT ON COLUMN notify.change_lists.state IS 'open, merged or closed.';
    COMMENT ON COLUMN notify.change_lists.state_at IS 'Since when the state is so, by who stated it; null means that nobody has.';
    COMMENT ON COLUMN notify.change_lists.first_title IS 'The title before the first change, for the subject; null: never changed.';
    COMMENT ON COLUMN notify.change_lists.first_repository IS 'The same of the repository; null: never changed.';

    CREATE TABLE notify.cl_reviewers (
        topic TEXT NOT NULL,
        username TEXT NOT NULL,
        CONSTRAINT cl_reviewers_pkey PRIMARY KEY (topic, username),
        CONSTRAINT cl_reviewers_topic_fkey FOREIGN KEY(topic) REFERENCES notify.change_lists (link) ON DELETE CASCADE
    );
    COMMENT ON TABLE notify.cl_reviewers IS 'The directory: who reviews what.';
    COMMENT ON COLUMN notify.cl_reviewers.topic IS 'The change list.';
    COMMENT ON COLUMN notify.cl_reviewers.username IS 'Reviewer. Need not be in people yet.';
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE notify.cl_reviewers")
    op.execute("DROP TABLE notify.change_lists")
    op.execute("DROP TABLE notify.people")
