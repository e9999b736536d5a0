"""Tables of what forges tell: webhook deliveries, the mirror of repositories and changes, and whose login is whose."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY

from notify.store.tables.schema import INSTANT, index, metadata, optional, required, row_id


def _of_repository() -> ForeignKey:
    return ForeignKey("notify.forge_repositories.id", ondelete="CASCADE")


webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    row_id(),
    required("forge", Text, "Name of the forge in NOTIFY_FORGES_FILE."),
    required("delivery_id", Text, "The forge's id of the delivery; sha256: and the body's hash if it sent none."),
    required("event", Text, "Name of the webhook event, from the header."),
    required("body", LargeBinary, "The signed body, as it came."),
    required("content_type", Text, "Media type of the body: JSON or a form."),
    required("status", Text, "pending, done, ignored (not of interest) or dead.", default="'pending'"),
    optional("repository", Text, "owner/name, once the body has been read; null before, or if it names none."),
    optional("outcome_reason", Text, "Why it was ignored or is dead; null otherwise."),
    required("event_keys", ARRAY(Text, as_tuple=True), "Keys of the events it became.", default="'{}'"),
    required("created_at", INSTANT, "When it was received first.", default="now()"),
    optional("finished_at", INSTANT, "When it reached its final status; null before."),
    UniqueConstraint("forge", "delivery_id"),
    CheckConstraint("status IN ('pending', 'done', 'ignored', 'dead')", name="status"),
    CheckConstraint("(finished_at IS NULL) = (status = 'pending')", name="finished_when_final"),
    CheckConstraint("status NOT IN ('ignored', 'dead') OR outcome_reason IS NOT NULL", name="reasoned"),
    CheckConstraint("octet_length(outcome_reason) <= 1024", name="outcome_reason"),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0.05},
    comment="Webhook calls, kept as they came.",
)

forges = Table(
    "forges",
    metadata,
    required("name", Text, "Name of the forge in NOTIFY_FORGES_FILE."),
    required("listed_from", INSTANT, "Its repositories are listed again from then on.", default="now()"),
    optional("listed_at", INSTANT, "When they were listed completely last; null: never."),
    optional("fault", Text, "Why the last listing failed; null: it did not."),
    optional("paused_until", INSTANT, "Rate limited: the forge is asked nothing before this instant; null: never."),
    required("pauses", Integer, "Pauses in a row without a stated end; doubles the next.", default="0"),
    optional(
        "fault_at",
        INSTANT,
        "When the first of the listings failed that have failed since the last complete one; null: none has.",
    ),
    optional(
        "failing_since",
        INSTANT,
        "It has not been read completely since then, which operators have been told; null: it is read in time.",
    ),
    PrimaryKeyConstraint("name"),
    CheckConstraint("octet_length(fault) <= 1024", name="fault"),
    comment="The mirror: forges, and how they bear being asked.",
)

forge_repositories = Table(
    "forge_repositories",
    metadata,
    row_id(),
    required("forge", Text, "Name of the forge."),
    required("forge_id", BigInteger, "The forge's number of the repository, which survives renames."),
    required("full_name", Text, "owner/name today."),
    optional(
        "first_swept_at", INSTANT, "When the first complete sweep began: older events are never told; null: none."
    ),
    optional("swept_at", INSTANT, "When the last complete sweep began; null: none."),
    optional("etag", Text, "The forge's tag of the listing of changes at that sweep; null: none."),
    optional("pushed_at", INSTANT, "When anything was pushed last, by the forge; null: not stated."),
    optional("branches_read_at", INSTANT, "pushed_at when the branches were listed completely last; null: never."),
    optional("fault", Text, "Why the last sweep failed; null: it did not."),
    optional("fault_at", INSTANT, "Since when sweeps fail; null with fault."),
    required("gone", Boolean, "The forge no longer lists it.", default="false"),
    UniqueConstraint("forge", "forge_id"),
    CheckConstraint("(fault IS NULL) = (fault_at IS NULL)", name="fault"),
    CheckConstraint("octet_length(fault) <= 1024", name="fault_length"),
    index("forge_repositories_named", "forge, lower(full_name)", "Deliveries and people name a repository."),
    comment="The mirror: repositories, and how well they are known.",
)

forge_changes = Table(
    "forge_changes",
    metadata,
    required("repository_id", BigInteger, "Row of the repository.", _of_repository()),
    required("number", Integer, "Number of the pull request."),
    required("link", Text, "The change list in change_lists: owner/name#number."),
    required("title", Text, "One line."),
    required("description", Text, "Markdown; empty if there is none.", default="''"),
    required("url", Text, "Page of the pull request."),
    required("state", Text, "open, closed or merged."),
    required("draft", Boolean, "Drafts are told to nobody."),
    required("opener", Text, "Login of who opened it; ghost: the account is gone."),
    required("author", Text, "Login of whose change it is."),
    required("author_from", Text, "How the author is known: opener, action (of our app), trailer."),
    optional("head_ref", Text, "Branch that is to be merged; null: not known yet."),
    optional("head_sha", Text, "Its commit; null: not known yet."),
    optional("base_ref", Text, "Branch it is to be merged into; null: not known yet."),
    optional("base_sha", Text, "Its commit; null: not known yet."),
    optional("merge_sha", Text, "Commit that the merge made; null unless merged."),
    required("opened_at", INSTANT, "When it was opened, by the forge."),
    required("forge_updated_at", INSTANT, "When it changed last, by the forge; an older answer changes nothing."),
    optional("synced_at", INSTANT, "When the forge was asked last; null: known from a webhook alone."),
    required("updated_at", INSTANT, "When this row changed last.", default="now()"),
    required("stale", Boolean, "The forge could not be asked; the next sweep does.", default="false"),
    PrimaryKeyConstraint("repository_id", "number"),
    CheckConstraint("state IN ('open', 'closed', 'merged')", name="state"),
    CheckConstraint("author_from IN ('opener', 'action', 'trailer')", name="author_from"),
    index("forge_changes_link", "link", "A change list is looked up by its link."),
    index("forge_changes_merged", "merge_sha", "Who is behind a commit of a queue.", where="merge_sha IS NOT NULL"),
    index("forge_changes_stale", "repository_id", "A sweep reads what is stale again.", where="stale"),
    comment="The mirror: pull requests.",
)

forge_reviewers = Table(
    "forge_reviewers",
    metadata,
    required("repository_id", BigInteger, "Row of the repository."),
    required("number", Integer, "Number of the pull request."),
    required("login", Text, "Reviewer."),
    required("requested", Boolean, "Whether a review is asked for today."),
    required("removed", Boolean, "Was asked for, and is no longer.", default="false"),
    optional("told_at", INSTANT, "Requests up to this instant, by the forge, have become events; null: none has."),
    optional("team", Text, "Team through which the review is asked for; null: by name."),
    optional("verdict", Text, "Last finished review: approved, changes_requested, commented, dismissed; null: none."),
    PrimaryKeyConstraint("repository_id", "number", "login"),
    ForeignKeyConstraint(
        ["repository_id", "number"],
        ["notify.forge_changes.repository_id", "notify.forge_changes.number"],
        name="forge_reviewers_change_fkey",
        ondelete="CASCADE",
    ),
    CheckConstraint("verdict IN ('approved', 'changes_requested', 'commented', 'dismissed')", name="verdict"),
    comment="The mirror: who reviews what.",
)

forge_branches = Table(
    "forge_branches",
    metadata,
    required("repository_id", BigInteger, "Row of the repository.", _of_repository()),
    required("name", Text, "Branch, without refs/heads/."),
    required("head_sha", Text, "Its newest commit when it was seen last."),
    required("state", Text, "open; closed: stays so though it is seen; deleted: no complete listing has it."),
    required("synced_at", INSTANT, "When a complete listing was read last."),
    required("updated_at", INSTANT, "When this row changed last.", default="now()"),
    PrimaryKeyConstraint("repository_id", "name"),
    CheckConstraint("state IN ('open', 'closed', 'deleted')", name="state"),
    comment="The mirror: branches.",
)

forge_entries = Table(
    "forge_entries",
    metadata,
    required("forge", Text, "Name of the forge."),
    required("slug", Text, "Short name of the entry."),
    required("path", Text, "File in the entries' repository."),
    required("sha", Text, "Names the file's content."),
    optional("title", Text, "One line; null: the file states none."),
    optional("state", Text, "As the file states it; null: not."),
    optional("entry_id", Text, "The file's id; null: none."),
    optional("repo", Text, "Repository, owner/name, whose pull requests belong to the entry; null: none."),
    optional("proposed_by", Text, "Login; null: not stated."),
    optional("proposed_at", Text, "As the file states it; null: not."),
    optional("graduated_by", Text, "Login; null: not stated."),
    optional("graduated_at", Text, "As the file states it; null: not."),
    required("owners", ARRAY(Text, as_tuple=True), "Logins.", default="'{}'"),
    required("arbiters", ARRAY(Text, as_tuple=True), "Logins.", default="'{}'"),
    required("tags", ARRAY(Text, as_tuple=True), "Words.", default="'{}'"),
    required("gone", Boolean, "The file is gone; nobody is told because of it.", default="false"),
    required("synced_at", INSTANT, "When the folder was read completely last."),
    required("updated_at", INSTANT, "When this row changed last.", default="now()"),
    PrimaryKeyConstraint("forge", "slug"),
    index("forge_entries_repo", "forge, lower(repo)", "Whose pull requests these are.", where="repo IS NOT NULL"),
    comment="The mirror: files with front matter that say who owns what.",
)

forge_actions = Table(
    "forge_actions",
    metadata,
    row_id(),
    required("repository_id", BigInteger, "Row of the repository.", _of_repository()),
    required("number", Integer, "Number of the pull request."),
    required("action", Text, "What our app did: opened, commented."),
    required("on_behalf_of", Text, "Login for whom it did so."),
    required("created_at", INSTANT, "When.", default="now()"),
    index("forge_actions_change", "repository_id, number, id", "Whose change it is that our app has opened."),
    comment="What our app did on a forge, and for whom.",
)

identities = Table(
    "identities",
    metadata,
    required("forge", Text, "Name of the forge."),
    required("login", Text, "Login on the forge, in the forge's spelling."),
    required("username", Text, "Whose login it is. Need not be in people yet."),
    required("source", Text, "Who said so: rest, cli, csv."),
    optional("verified_at", INSTANT, "When somebody confirmed it; null: nobody has."),
    index("identities_login", "forge, lower(login)", "A login is one person's, whatever its case.", unique=True),
    index("identities_username", "username", "People ask for somebody's logins; so does erasure."),
    comment="Whose login is whose.",
)

unmapped_logins = Table(
    "unmapped_logins",
    metadata,
    required("forge", Text, "Name of the forge."),
    required("login", Text, "Login that is nobody's, in lower case; team:NAME for a team that cannot be read."),
    required("missed", Integer, "How many events would have concerned them."),
    required("last_event_key", Text, "The last of them."),
    required("first_at", INSTANT, "When the first was missed.", default="now()"),
    required("last_at", INSTANT, "When the last was.", default="now()"),
    PrimaryKeyConstraint("forge", "login"),
    CheckConstraint("missed > 0", name="missed"),
    comment="Logins that are nobody's, and what they missed.",
)
