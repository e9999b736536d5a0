"""
Add what forges tell: webhook deliveries, the mirror, identities, and owners of what a change list changes.

Phase: add          Locks: 11 new tables; change_lists while a foreign key is added
Runs:  before the code that reads them          Undo: drops the tables and what is in them
"""

from alembic import op

revision = "0009"
down_revision = "0008"

SCHEMA = """
    CREATE TABLE notify.forge_entries (
        forge TEXT NOT NULL,
        slug TEXT NOT NULL,
        path TEXT NOT NULL,
        sha TEXT NOT NULL,
        title TEXT,
        state TEXT,
        entry_id TEXT,
        repo TEXT,
        proposed_by TEXT,
        proposed_at TEXT,
        graduated_by TEXT,
        graduated_at TEXT,
        owners TEXT[] DEFAULT '{}' NOT NULL,
        arbiters TEXT[] DEFAULT '{}' NOT NULL,
        tags TEXT[] DEFAULT '{}' NOT NULL,
        gone BOOLEAN DEFAULT false NOT NULL,
        synced_at TIMESTAMP WITH TIME ZONE NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT forge_entries_pkey PRIMARY KEY (forge, slug)
    );
    CREATE INDEX forge_entries_repo ON notify.forge_entries (forge, lower(repo)) WHERE repo IS NOT NULL;
    COMMENT ON INDEX notify.forge_entries_repo IS 'Whose pull requests these are.';
    COMMENT ON TABLE notify.forge_entries IS 'The mirror: files with front matter that say who owns what.';
    COMMENT ON COLUMN notify.forge_entries.forge IS 'Name of the forge.';
    COMMENT ON COLUMN notify.forge_entries.slug IS 'Short name of the entry.';
    COMMENT ON COLUMN notify.forge_entries.path IS 'File in the entries'' repository.';
    COMMENT ON COLUMN notify.forge_entries.sha IS 'Names the file''s content.';
    COMMENT ON COLUMN notify.forge_entries.title IS 'One line; null: the file states none.';
    COMMENT ON COLUMN notify.forge_entries.state IS 'As the file states it; null: not.';
    COMMENT ON COLUMN notify.forge_entries.entry_id IS 'The file''s id; null: none.';
    COMMENT ON COLUMN notify.forge_entries.repo IS 'Repository, owner/name, whose pull requests belong to the entry; null: none.';
    COMMENT ON COLUMN notify.forge_entries.proposed_by IS 'Login; null: not stated.';
    COMMENT ON COLUMN notify.forge_entries.proposed_at IS 'As the file states it; null: not.';
    COMMENT ON COLUMN notify.forge_entries.graduated_by IS 'Login; null: not stated.';
    COMMENT ON COLUMN notify.forge_entries.graduated_at IS 'As the file states it; null: not.';
    COMMENT ON COLUMN notify.forge_entries.owners IS 'Logins.';
    COMMENT ON COLUMN notify.forge_entries.arbiters IS 'Logins.';
    COMMENT ON COLUMN notify.forge_entries.tags IS 'Words.';
    COMMENT ON COLUMN notify.forge_entries.gone IS 'The file is gone; nobody is told because of it.';
    COMMENT ON COLUMN notify.forge_entries.synced_at IS 'When the folder was read completely last.';
    COMMENT ON COLUMN notify.forge_entries.updated_at IS 'When this row changed last.';

    CREATE TABLE notify.forge_repositories (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        forge TEXT NOT NULL,
        forge_id BIGINT NOT NULL,
        full_name TEXT NOT NULL,
        first_swept_at TIMESTAMP WITH TIME ZONE,
        swept_at TIMESTAMP WITH TIME ZONE,
        etag TEXT,
        pushed_at TIMESTAMP WITH TIME ZONE,
        branches_read_at TIMESTAMP WITH TIME ZONE,
        fault TEXT,
        fault_at TIMESTAMP WITH TIME ZONE,
        gone BOOLEAN DEFAULT false NOT NULL,
        CONSTRAINT forge_repositories_pkey PRIMARY KEY (id),
        CONSTRAINT forge_repositories_forge_forge_id_key UNIQUE (forge, forge_id),
        CONSTRAINT forge_repositories_fault_check CHECK ((fault IS NULL) = (fault_at IS NULL)),
        CONSTRAINT forge_repositories_fault_length_check CHECK (octet_length(fault) <= 1024)
    );
    CREATE INDEX forge_repositories_named ON notify.forge_repositories (forge, lower(full_name));
    COMMENT ON INDEX notify.forge_repositories_named IS 'Deliveries and people name a repository.';
    COMMENT ON TABLE notify.forge_repositories IS 'The mirror: repositories, and how well they are known.';
    COMMENT ON COLUMN notify.forge_repositories.id IS 'Id; rises with time.';
    COMMENT ON COLUMN notify.forge_repositories.forge IS 'Name of the forge.';
    COMMENT ON COLUMN notify.forge_repositories.forge_id IS 'The forge''s number of the repository, which survives renames.';
    COMMENT ON COLUMN notify.forge_repositories.full_name IS 'owner/name today.';
    COMMENT ON COLUMN notify.forge_repositories.first_swept_at IS 'When the first complete sweep began: older events are never told; null: none.';
    COMMENT ON COLUMN notify.forge_repositories.swept_at IS 'When the last complete sweep began; null: none.';
    COMMENT ON COLUMN notify.forge_repositories.etag IS 'The forge''s tag of the listing of changes at that sweep; null: none.';
    COMMENT ON COLUMN notify.forge_repositories.pushed_at IS 'When anything was pushed last, by the forge; null: not stated.';
    COMMENT ON COLUMN notify.forge_repositories.branches_read_at IS 'pushed_at when the branches were listed completely last; null: never.';
    COMMENT ON COLUMN notify.forge_repositories.fault IS 'Why the last sweep failed; null: it did not.';
    COMMENT ON COLUMN notify.forge_repositories.fault_at IS 'Since when sweeps fail; null with fault.';
    COMMENT ON COLUMN notify.forge_repositories.gone IS 'The forge no longer lists it.';

    CREATE TABLE notify.forges (
        name TEXT NOT NULL,
        listed_from TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        listed_at TIMESTAMP WITH TIME ZONE,
        fault TEXT,
        paused_until TIMESTAMP WITH TIME ZONE,
        pauses INTEGER DEFAULT 0 NOT NULL,
        CONSTRAINT forges_pkey PRIMARY KEY (name),
        CONSTRAINT forges_fault_check CHECK (octet_length(fault) <= 1024)
    );
    COMMENT ON TABLE notify.forges IS 'The mirror: forges, and how they bear being asked.';
    COMMENT ON COLUMN notify.forges.name IS 'Name of the forge in NOTIFY_FORGES_FILE.';
    COMMENT ON COLUMN notify.forges.listed_from IS 'Its repositories are listed again from then on.';
    COMMENT ON COLUMN notify.forges.listed_at IS 'When they were listed completely last; null: never.';
    COMMENT ON COLUMN notify.forges.fault IS 'Why the last listing failed; null: it did not.';
    COMMENT ON COLUMN notify.forges.paused_until IS 'Rate limited: the forge is asked nothing before this instant; null: never.';
    COMMENT ON COLUMN notify.forges.pauses IS 'Pauses in a row without a stated end; doubles the next.';

    CREATE TABLE notify.identities (
        forge TEXT NOT NULL,
        login TEXT NOT NULL,
        username TEXT NOT NULL,
        source TEXT NOT NULL,
        verified_at TIMESTAMP WITH TIME ZONE
    );
    CREATE UNIQUE INDEX identities_login ON notify.identities (forge, lower(login));
    COMMENT ON INDEX notify.identities_login IS 'A login is one person''s, whatever its case.';
    CREATE INDEX identities_username ON notify.identities (username);
    COMMENT ON INDEX notify.identities_username IS 'People ask for somebody''s logins; so does erasure.';
    COMMENT ON TABLE notify.identities IS 'Whose login is whose.';
    COMMENT ON COLUMN notify.identities.forge IS 'Name of the forge.';
    COMMENT ON COLUMN notify.identities.login IS 'Login on the forge, in the forge''s spelling.';
    COMMENT ON COLUMN notify.identities.username IS 'Whose login it is. Need not be in people yet.';
    COMMENT ON COLUMN notify.identities.source IS 'Who said so: rest, cli, csv.';
    COMMENT ON COLUMN notify.identities.verified_at IS 'When somebody confirmed it; null: nobody has.';

    CREATE TABLE notify.unmapped_logins (
        forge TEXT NOT NULL,
        login TEXT NOT NULL,
        missed INTEGER NOT NULL,
        last_event_key TEXT NOT NULL,
        first_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        last_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT unmapped_logins_pkey PRIMARY KEY (forge, login),
        CONSTRAINT unmapped_logins_missed_check CHECK (missed > 0)
    );
    COMMENT ON TABLE notify.unmapped_logins IS 'Logins that are nobody''s, and what they missed.';
    COMMENT ON COLUMN notify.unmapped_logins.forge IS 'Name of the forge.';
    COMMENT ON COLUMN notify.unmapped_logins.login IS 'Login that is nobody''s, in lower case; team:NAME for a team that cannot be read.';
    COMMENT ON COLUMN notify.unmapped_logins.missed IS 'How many events would have concerned them.';
    COMMENT ON COLUMN notify.unmapped_logins.last_event_key IS 'The last of them.';
    COMMENT ON COLUMN notify.unmapped_logins.first_at IS 'When the first was missed.';
    COMMENT ON COLUMN notify.unmapped_logins.last_at IS 'When the last was.';

    CREATE TABLE notify.webhook_deliveries (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        forge TEXT NOT NULL,
        delivery_id TEXT NOT NULL,
        event TEXT NOT NULL,
        body BYTEA NOT NULL,
        content_type TEXT NOT NULL,
        status TEXT DEFAULT 'pending' NOT NULL,
        repository TEXT,
        outcome_reason TEXT,
        event_keys TEXT[] DEFAULT '{}' NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        finished_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id),
        CONSTRAINT webhook_deliveries_forge_delivery_id_key UNIQUE (forge, delivery_id),
        CONSTRAINT webhook_deliveries_status_check CHECK (status IN ('pending', 'done', 'ignored', 'dead')),
        CONSTRAINT webhook_deliveries_finished_when_final_check CHECK ((finished_at IS NULL) = (status = 'pending')),
        CONSTRAINT webhook_deliveries_reasoned_check CHECK (status NOT IN ('ignored', 'dead') OR outcome_reason IS NOT NULL),
        CONSTRAINT webhook_deliveries_outcome_reason_check CHECK (octet_length(outcome_reason) <= 1024)
    )
     WITH (autovacuum_vacuum_scale_factor = 0.05);
    COMMENT ON TABLE notify.webhook_deliveries IS 'Webhook calls, kept as they came.';
    COMMENT ON COLUMN notify.webhook_deliveries.id IS 'Id; rises with time.';
    COMMENT ON COLUMN notify.webhook_deliveries.forge IS 'Name of the forge in NOTIFY_FORGES_FILE.';
    COMMENT ON COLUMN notify.webhook_deliveries.delivery_id IS 'The forge''s id of the delivery; sha256: and the body''s hash if it sent none.';
    COMMENT ON COLUMN notify.webhook_deliveries.event IS 'Name of the webhook event, from the header.';
    COMMENT ON COLUMN notify.webhook_deliveries.body IS 'The signed body, as it came.';
    COMMENT ON COLUMN notify.webhook_deliveries.content_type IS 'Media type of the body: JSON or a form.';
    COMMENT ON COLUMN notify.webhook_deliveries.status IS 'pending, done, ignored (not of interest) or dead.';
    COMMENT ON COLUMN notify.webhook_deliveries.repository IS 'owner/name, once the body has been read; null before, or if it names none.';
    COMMENT ON COLUMN notify.webhook_deliveries.outcome_reason IS 'Why it was ignored or is dead; null otherwise.';
    COMMENT ON COLUMN notify.webhook_deliveries.event_keys IS 'Keys of the events it became.';
    COMMENT ON COLUMN notify.webhook_deliveries.created_at IS 'When it was received first.';
    COMMENT ON COLUMN notify.webhook_deliveries.finished_at IS 'When it reached its final status; null before.';

    CREATE TABLE notify.cl_owners (
        topic TEXT NOT NULL,
        username TEXT NOT NULL,
        CONSTRAINT cl_owners_pkey PRIMARY KEY (topic, username),
        CONSTRAINT cl_owners_topic_fkey FOREIGN KEY(topic) REFERENCES notify.change_lists (link) ON DELETE CASCADE
    );
    COMMENT ON TABLE notify.cl_owners IS 'The directory: owners of what a change list changes.';
    COMMENT ON COLUMN notify.cl_owners.topic IS 'The change list.';
    COMMENT ON COLUMN notify.cl_owners.username IS 'Username of an owner of what it changes, who need not be in people yet.';

    CREATE TABLE notify.forge_actions (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        repository_id BIGINT NOT NULL,
        number INTEGER NOT NULL,
        action TEXT NOT NULL,
        on_behalf_of TEXT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT forge_actions_pkey PRIMARY KEY (id),
        CONSTRAINT forge_actions_repository_id_fkey FOREIGN KEY(repository_id) REFERENCES notify.forge_repositories (id) ON DELETE CASCADE
    );
    CREATE INDEX forge_actions_change ON notify.forge_actions (repository_id, number, id);
    COMMENT ON INDEX notify.forge_actions_change IS 'Whose change it is that our app has opened.';
    COMMENT ON TABLE notify.forge_actions IS 'What our app did on a forge, and for whom.';
    COMMENT ON COLUMN notify.forge_actions.id IS 'Id; rises with time.';
    COMMENT ON COLUMN notify.forge_actions.repository_id IS 'Row of the repository.';
    COMMENT ON COLUMN notify.forge_actions.number IS 'Number of the pull request.';
    COMMENT ON COLUMN notify.forge_actions.action IS 'What our app did: opened, commented.';
    COMMENT ON COLUMN notify.forge_actions.on_behalf_of IS 'Login for whom it did so.';
    COMMENT ON COLUMN notify.forge_actions.created_at IS 'When.';

    CREATE TABLE notify.forge_branches (
        repository_id BIGINT NOT NULL,
        name TEXT NOT NULL,
        head_sha TEXT NOT NULL,
        state TEXT NOT NULL,
        synced_at TIMESTAMP WITH TIME ZONE NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT forge_branches_pkey PRIMARY KEY (repository_id, name),
        CONSTRAINT forge_branches_state_check CHECK (state IN ('open', 'closed', 'deleted')),
        CONSTRAINT forge_branches_repository_id_fkey FOREIGN KEY(repository_id) REFERENCES notify.forge_repositories (id) ON DELETE CASCADE
    );
    COMMENT ON TABLE notify.forge_branches IS 'The mirror: branches.';
    COMMENT ON COLUMN notify.forge_branches.repository_id IS 'Row of the repository.';
    COMMENT ON COLUMN notify.forge_branches.name IS 'Branch, without refs/heads/.';
    COMMENT ON COLUMN notify.forge_branches.head_sha IS 'Its newest commit when it was seen last.';
    COMMENT ON COLUMN notify.forge_branches.state IS 'open; closed: stays so though it is seen; deleted: no complete listing has it.';
    COMMENT ON COLUMN notify.forge_branches.synced_at IS 'When a complete listing was read last.';
    COMMENT ON COLUMN notify.forge_branches.updated_at IS 'When this row changed last.';

    CREATE TABLE notify.forge_changes (
        repository_id BIGINT NOT NULL,
        number INTEGER NOT NULL,
        link TEXT NOT NULL,
        title TEXT NOT NULL,
        description TEXT DEFAULT '' NOT NULL,
        url TEXT NOT NULL,
        state TEXT NOT NULL,
        draft BOOLEAN NOT NULL,
        opener TEXT NOT NULL,
        author TEXT NOT NULL,
        author_from TEXT NOT NULL,
        head_ref TEXT,
        head_sha TEXT,
        base_ref TEXT,
        base_sha TEXT,
        merge_sha TEXT,
        opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
        forge_updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
        synced_at TIMESTAMP WITH TIME ZONE,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        stale BOOLEAN DEFAULT false NOT NULL,
        CONSTRAINT forge_changes_pkey PRIMARY KEY (repository_id, number),
        CONSTRAINT forge_changes_state_check CHECK (state IN ('open', 'closed', 'merged')),
        CONSTRAINT forge_changes_author_from_check CHECK (author_from IN ('opener', 'action', 'trailer')),
        CONSTRAINT forge_changes_repository_id_fkey FOREIGN KEY(repository_id) REFERENCES notify.forge_repositories (id) ON DELETE CASCADE
    );
    CREATE INDEX forge_changes_link ON notify.forge_changes (link);
    COMMENT ON INDEX notify.forge_changes_link IS 'A change list is looked up by its link.';
    CREATE INDEX forge_changes_merged ON notify.forge_changes (merge_sha) WHERE merge_sha IS NOT NULL;
    COMMENT ON INDEX notify.forge_changes_merged IS 'Who is behind a commit of a queue.';
    CREATE INDEX forge_changes_stale ON notify.forge_changes (repository_id) WHERE stale;
    COMMENT ON INDEX notify.forge_changes_stale IS 'A sweep reads what is stale again.';
    COMMENT ON TABLE notify.forge_changes IS 'The mirror: pull requests.';
    COMMENT ON COLUMN notify.forge_changes.repository_id IS 'Row of the repository.';
    COMMENT ON COLUMN notify.forge_changes.number IS 'Number of the pull request.';
    COMMENT ON COLUMN notify.forge_changes.link IS 'The change list in change_lists: owner/name#number.';
    COMMENT ON COLUMN notify.forge_changes.title IS 'One line.';
    COMMENT ON COLUMN notify.forge_changes.description IS 'Markdown; empty if there is none.';
    COMMENT ON COLUMN notify.forge_changes.url IS 'Page of the pull request.';
    COMMENT ON COLUMN notify.forge_changes.state IS 'open, closed or merged.';
    COMMENT ON COLUMN notify.forge_changes.draft IS 'Drafts are told to nobody.';
    COMMENT ON COLUMN notify.forge_changes.opener IS 'Login of who opened it; ghost: the account is gone.';
    COMMENT ON COLUMN notify.forge_changes.author IS 'Login of whose change it is.';
    COMMENT ON COLUMN notify.forge_changes.author_from IS 'How the author is known: opener, action (of our app), trailer.';
    COMMENT ON COLUMN notify.forge_changes.head_ref IS 'Branch that is to be merged; null: not known yet.';
    COMMENT ON COLUMN notify.forge_changes.head_sha IS 'Its commit; null: not known yet.';
    COMMENT ON COLUMN notify.forge_changes.base_ref IS 'Branch it is to be merged into; null: not known yet.';
    COMMENT ON COLUMN notify.forge_changes.base_sha IS 'Its commit; null: not known yet.';
    COMMENT ON COLUMN notify.forge_changes.merge_sha IS 'Commit that the merge made; null unless merged.';
    COMMENT ON COLUMN notify.forge_changes.opened_at IS 'When it was opened, by the forge.';
    COMMENT ON COLUMN notify.forge_changes.forge_updated_at IS 'When it changed last, by the forge; an older answer changes nothing.';
    COMMENT ON COLUMN notify.forge_changes.synced_at IS 'When the forge was asked last; null: known from a webhook alone.';
    COMMENT ON COLUMN notify.forge_changes.updated_at IS 'When this row changed last.';
    COMMENT ON COLUMN notify.forge_changes.stale IS 'The forge could not be asked; the next sweep does.';

    CREATE TABLE notify.forge_reviewers (
        repository_id BIGINT NOT NULL,
        number INTEGER NOT NULL,
        login TEXT NOT NULL,
        requested BOOLEAN NOT NULL,
        removed BOOLEAN DEFAULT false NOT NULL,
        told_at TIMESTAMP WITH TIME ZONE,
        team TEXT,
        verdict TEXT,
        CONSTRAINT forge_reviewers_pkey PRIMARY KEY (repository_id, number, login),
        CONSTRAINT forge_reviewers_change_fkey FOREIGN KEY(repository_id, number) REFERENCES notify.forge_changes (repository_id, number) ON DELETE CASCADE,
        CONSTRAINT forge_reviewers_verdict_check CHECK (verdict IN ('approved', 'changes_requested', 'commented', 'dismissed'))
    );
    COMMENT ON TABLE notify.forge_reviewers IS 'The mirror: who reviews what.';
    COMMENT ON COLUMN notify.forge_reviewers.repository_id IS 'Row of the repository.';
    COMMENT ON COLUMN notify.forge_reviewers.number IS 'Number of the pull request.';
    COMMENT ON COLUMN notify.forge_reviewers.login IS 'Reviewer.';
    COMMENT ON COLUMN notify.forge_reviewers.requested IS 'Whether a review is asked for today.';
    COMMENT ON COLUMN notify.forge_reviewers.removed IS 'Was asked for, and is no longer.';
    COMMENT ON COLUMN notify.forge_reviewers.told_at IS 'Requests up to this instant, by the forge, have become events; null: none has.';
    COMMENT ON COLUMN notify.forge_reviewers.team IS 'Team through which the review is asked for; null: by name.';
    COMMENT ON COLUMN notify.forge_reviewers.verdict IS 'Last finished review: approved, changes_requested, commented, dismissed; null: none.';
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(SCHEMA)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE notify.forge_reviewers")
    op.execute("DROP TABLE notify.forge_changes")
    op.execute("DROP TABLE notify.forge_branches")
    op.execute("DROP TABLE notify.forge_actions")
    op.execute("DROP TABLE notify.cl_owners")
    op.execute("DROP TABLE notify.webhook_deliveries")
    op.execute("DROP TABLE notify.unmapped_logins")
    op.execute("DROP TABLE notify.identities")
    op.execute("DROP TABLE notify.forges")
    op.execute("DROP TABLE notify.forge_repositories")
    op.execute("DROP TABLE notify.forge_entries")
