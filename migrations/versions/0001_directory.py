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
    COMMENT ON INDEX notify.people_undeliverable IS 'Metrics count undeliverable addresses.';
    COMMENT ON TABLE notify.people IS 'The directory: people and their addresses.';
    COMMENT ON COLUMN notify.people.username IS 'The person''s name in the code review tool.';
    COMMENT ON COLUMN notify.people.email IS 'Email address; null: unknown.';
    COMMENT ON COLUMN notify.people.display_name IS 'Name shown to others; null: the username.';
    COMMENT ON COLUMN notify.people.locale IS 'BCP 47 language tag; null: the deployment''s default.';
    COMMENT ON COLUMN notify.people.timezone IS 'IANA time zone; null: UTC.';
    COMMENT ON COLUMN notify.people.is_bot IS 'True: a bot, which gets required emails only.';
    COMMENT ON COLUMN notify.people.active IS 'False: has left and gets no emails.';
    COMMENT ON COLUMN notify.people.undeliverable_email IS 'Address that a relay refused for good; ignored once it changes.';
    COMMENT ON COLUMN notify.people.undeliverable_at IS 'When the relay refused it; null with undeliverable_email.';
    COMMENT ON COLUMN notify.people.undeliverable_reply IS 'The relay''s reply; null with undeliverable_email.';

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
    COMMENT ON TABLE notify.change_lists IS 'The directory: change lists and their authors.';
    COMMENT ON COLUMN notify.change_lists.link IS 'Short name of the change list, such as CL-4821.';
    COMMENT ON COLUMN notify.change_lists.title IS 'Title, one line; null: unknown.';
    COMMENT ON COLUMN notify.change_lists.url IS 'Web page of the change list; null: unknown.';
    COMMENT ON COLUMN notify.change_lists.repository IS 'Repository, shown in subjects; null: unknown.';
    COMMENT ON COLUMN notify.change_lists.author IS 'Username of the author, who need not be in people yet; null: unknown.';
    COMMENT ON COLUMN notify.change_lists.state IS 'open, merged or closed.';
    COMMENT ON COLUMN notify.change_lists.state_at IS 'Since when, according to the producer; null: nobody stated a state.';
    COMMENT ON COLUMN notify.change_lists.first_title IS 'The original title, which subjects keep; null: the title never changed.';
    COMMENT ON COLUMN notify.change_lists.first_repository IS 'The original repository, which subjects keep; null: it never changed.';

    CREATE TABLE notify.cl_reviewers (
        topic TEXT NOT NULL,
        username TEXT NOT NULL,
        CONSTRAINT cl_reviewers_pkey PRIMARY KEY (topic, username),
        CONSTRAINT cl_reviewers_topic_fkey FOREIGN KEY(topic) REFERENCES notify.change_lists (link) ON DELETE CASCADE
    );
    COMMENT ON TABLE notify.cl_reviewers IS 'The directory: reviewers of change lists.';
    COMMENT ON COLUMN notify.cl_reviewers.topic IS 'The change list.';
    COMMENT ON COLUMN notify.cl_reviewers.username IS 'Username of the reviewer, who need not be in people yet.';
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE notify.cl_reviewers")
    op.execute("DROP TABLE notify.change_lists")
    op.execute("DROP TABLE notify.people")
