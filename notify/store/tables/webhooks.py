"""
Tables of webhooks: the endpoints that are told of outcomes, and the calls to them.

Decided: triggers (migration 0016) write the calls, in the transaction that records an outcome. No other statement
    mentions these tables, and the code from before a rolling upgrade tells as well.
Decided: no foreign key. It would lock the endpoint's row at every outcome, and removing an endpoint would make all
    emails wait while its calls are deleted.
"""

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Integer, SmallInteger, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import UUID

from notify.store.tables.schema import INSTANT, OFTEN, index, metadata, optional, required, row_id

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    row_id(),
    required("name", Text, "What operators call it."),
    required("url", Text, "Where it is called."),
    required("types", ARRAY(Text), "Types of outcomes that it is told of."),
    required("include", ARRAY(Text), "What calls contain besides ids: address, payload.", default="'{}'::text[]"),
    required("secret", Text, "What its secret is derived from: id of a key, and a salt. Not the secret."),
    optional("old_secret", Text, "The same of the secret before the last rotation; null: there is none."),
    optional("old_secret_until", INSTANT, "Until when calls are signed with that one as well; null: there is none."),
    optional("paused_until", INSTANT, "It has limited the rate: not called before this instant; null: it has not."),
    optional("disabled_at", INSTANT, "Since when it is told of nothing; null: it is enabled."),
    optional("disabled_because", Text, "Why it is disabled; null: it is enabled."),
    required("created_at", INSTANT, "When it was added.", default="now()"),
    UniqueConstraint("name"),
    CheckConstraint("name ~ '^[a-z0-9][a-z0-9_.-]{0,63}$'", name="name"),
    CheckConstraint("octet_length(url) <= 2048", name="url"),
    CheckConstraint(
        "cardinality(types) > 0 AND types <@ ARRAY['email.sent', 'email.dead', 'notification.skipped', 'event.done']",
        name="types",
    ),
    CheckConstraint("include <@ ARRAY['address', 'payload']", name="include"),
    CheckConstraint("(old_secret IS NULL) = (old_secret_until IS NULL)", name="old_secret"),
    CheckConstraint("(disabled_at IS NULL) = (disabled_because IS NULL)", name="disabled"),
    comment="One row for each endpoint that is told of outcomes.",
)

webhook_calls = Table(
    "webhook_calls",
    metadata,
    row_id(),
    required("endpoint_id", BigInteger, "The endpoint, which may have been removed."),
    required("message_id", UUID, "The webhook-id, the same in every attempt.", default="gen_random_uuid()"),
    required("type", Text, "What it tells, such as email.sent."),
    required("subject_id", BigInteger, "Id of the email job, the notification, the event or, in a test, the endpoint."),
    required("outcome", Text, "How that ended, such as sent or dead."),
    optional("why", Text, "Why it ended so; null: no reason is needed."),
    optional("replay_of", BigInteger, "The call that this one repeats under a new webhook-id; null: none."),
    required("status", Text, "pending, delivered, dead or skipped; leases are in work_items.", default="'pending'"),
    required("attempts", Integer, "Attempts up to the last that was recorded.", default="0"),
    optional("outcome_reason", Text, "Why it is dead or skipped, or why the last attempt failed; null: neither."),
    optional("last_code", SmallInteger, "HTTP status of the last attempt; null: no answer."),
    optional("last_error", Text, "Why there was no answer, in our words; null: there was one."),
    optional("took_ms", Integer, "Duration of the last attempt in milliseconds; null: none was recorded."),
    required("created_at", INSTANT, "When the outcome was recorded that it tells of.", default="now()"),
    optional("retried_at", INSTANT, "When it was last retried by hand; null: never."),
    optional("finished_at", INSTANT, "When it reached its final status; null: pending."),
    CheckConstraint("status IN ('pending', 'delivered', 'dead', 'skipped')", name="status"),
    CheckConstraint("(finished_at IS NULL) = (status = 'pending')", name="finished_when_final"),
    CheckConstraint("status NOT IN ('dead', 'skipped') OR outcome_reason IS NOT NULL", name="reasoned"),
    CheckConstraint("octet_length(why) <= 1024", name="why"),
    CheckConstraint("octet_length(outcome_reason) <= 1024", name="outcome_reason"),
    CheckConstraint("octet_length(last_error) <= 1024", name="last_error"),
    CheckConstraint("attempts >= 0 AND took_ms >= 0", name="counts"),
    index("webhook_calls_endpoint", "endpoint_id, id", "People list an endpoint's calls."),
    postgresql_with={**OFTEN, "fillfactor": 60},
    comment="One row for each outcome that is told to an endpoint.",
)
