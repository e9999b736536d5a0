"""Tables of statuses: what is wanted on each commit and what the forge shows, and pauses of its installations."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from notify.store.tables.schema import INSTANT, OFTEN, index, metadata, optional, required, row_id

commit_statuses = Table(
    "commit_statuses",
    metadata,
    row_id(),
    required("forge", Text, "Name of the forge in NOTIFY_FORGES_FILE."),
    required("repository", Text, "owner/name, as it was published first."),
    optional("renamed_to", Text, "owner/name today, if the forge has said that it is another; null: it has not."),
    required("sha", Text, "The commit."),
    required("context", Text, "Names the status on its commit; of a check run its name."),
    required("kind", Text, "Wanted: status or check_run."),
    required("state", Text, "Wanted state; of a completed check run its conclusion."),
    optional("description", Text, "Wanted line; null: none."),
    optional("target_url", Text, "Wanted address where people read more; null: none."),
    optional("output", JSONB, "Wanted title, summary, text and annotations of a check run; null: none."),
    required("wanted_version", Integer, "How often it was published."),
    required("applied_version", Integer, "The version that the forge shows; 0: none.", default="0"),
    optional("applied_state", Text, "The state that the forge shows; null: none."),
    required("status", Text, "pending, applied, dead, skipped or cancelled.", default="'pending'"),
    optional("outcome_reason", Text, "Why it is dead, skipped or cancelled; or why the last attempt failed."),
    optional(
        "last_code", SmallInteger, "HTTP status of the last attempt, if that failed; null: no answer, or applied."
    ),
    optional("last_error", Text, "The forge's words in the last attempt, if that failed; no credentials; null: none."),
    optional("remote_id", BigInteger, "The forge's number of the check run; null: none is known."),
    required("replaced", Integer, "Versions that were replaced before they were applied.", default="0"),
    required("attempts", Integer, "Attempts up to the last that was recorded.", default="0"),
    required("labelled", Boolean, "The pull request has the error label because of it.", default="false"),
    optional("started_at", INSTANT, "When the check began to run; null: it has not."),
    optional("completed_at", INSTANT, "When the check came to its conclusion; null: it has not."),
    required("created_at", INSTANT, "When it was published first.", default="now()"),
    required("published_at", INSTANT, "When it was published last.", default="now()"),
    optional("applied_at", INSTANT, "When the forge was told last; null: never."),
    optional("finished_at", INSTANT, "When it reached its final status; null: pending."),
    CheckConstraint("kind IN ('status', 'check_run')", name="kind"),
    CheckConstraint(
        "state IN ('pending', 'success', 'failure', 'error', 'warning', 'skipped', 'queued', 'in_progress', 'neutral',"
        " 'cancelled', 'timed_out', 'action_required')",
        name="state",
    ),
    CheckConstraint("status IN ('pending', 'applied', 'dead', 'skipped', 'cancelled')", name="status"),
    CheckConstraint("(finished_at IS NULL) = (status = 'pending')", name="finished_when_final"),
    CheckConstraint("status NOT IN ('dead', 'skipped', 'cancelled') OR outcome_reason IS NOT NULL", name="reasoned"),
    CheckConstraint("status <> 'applied' OR applied_version = wanted_version", name="applied_what_is_wanted"),
    CheckConstraint("applied_version BETWEEN 0 AND wanted_version AND wanted_version > 0", name="versions"),
    CheckConstraint(
        "(applied_version = 0) = (applied_at IS NULL) AND (applied_at IS NULL) = (applied_state IS NULL)",
        name="applied",
    ),
    CheckConstraint("kind = 'check_run' OR output IS NULL", name="output"),
    CheckConstraint("octet_length(outcome_reason) <= 1024", name="outcome_reason"),
    CheckConstraint("octet_length(last_error) <= 1024", name="last_error"),
    CheckConstraint("replaced >= 0 AND attempts >= 0", name="counts"),
    index(
        "commit_statuses_target",
        "sha, context, forge, lower(repository)",
        "Publishing looks for the target; people ask what is shown on a commit.",
        unique=True,
    ),
    postgresql_with={**OFTEN, "fillfactor": 60},
    comment="One row for each context of a commit: what is wanted there, and what the forge shows.",
)

status_attempts = Table(
    "status_attempts",
    metadata,
    row_id(),
    required("status_id", BigInteger, "The target.", ForeignKey(commit_statuses.c.id, ondelete="CASCADE")),
    required("attempt", Integer, "Number of the attempt."),
    required("version", Integer, "The version that it was to apply."),
    required("at", INSTANT, "When the outcome was recorded.", default="now()"),
    required("outcome", Text, "retry, dead, skipped or released, then a colon and the reason."),
    optional("request", Text, "Method and path of the call that failed; null: none was made."),
    optional("code", SmallInteger, "HTTP status; null: no answer."),
    optional("text", Text, "The forge's words or our error, at most 1 KiB; never contains a credential."),
    optional("took_ms", Integer, "Duration in milliseconds; null: not known."),
    CheckConstraint("octet_length(text) <= 1024", name="text"),
    CheckConstraint("octet_length(request) <= 1024", name="request"),
    CheckConstraint("took_ms >= 0", name="took_ms"),
    index(
        "status_attempts_status", "status_id, id", "People list a target's attempts; deleting the target deletes them."
    ),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0.05},
    comment="One row for each attempt that did not end in applied.",
)

forge_installations = Table(
    "forge_installations",
    metadata,
    required("forge", Text, "Name of the forge."),
    required("installation", BigInteger, "The forge's number of the app's installation."),
    required("paused_until", INSTANT, "Rate limited: nothing is asked with its token before this instant."),
    required("pauses", Integer, "Pauses in a row without a stated end; doubles the next.", default="1"),
    PrimaryKeyConstraint("forge", "installation"),
    comment="Installations that limit the rate. One that never did has no row.",
)
