"""Tables of what is to be done and what came of it: work items, events, jobs, notifications, attempts."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from notify.store.tables.schema import INSTANT, OFTEN, index, metadata, optional, required, row_id

work_items = Table(
    "work_items",
    metadata,
    required("stage", Text, "Which stage works it off: fan_out, deliver."),
    required("id", BigInteger, "Id of the row in the stage's own table: an event, an email job."),
    required("lane", SmallInteger, "0 urgent, 1 normal, 2 bulk, in that order; 4 lapsed, alone; 8 leased; 9 dead."),
    required(
        "due_at", INSTANT, "Not before this instant; leased: when the lease ends; dead: when it died.", default="now()"
    ),
    required(
        "attempt", Integer, "Rises at every claim, never falls; (stage, id, attempt) is unique for ever.", default="0"
    ),
    required("failures", SmallInteger, "Attempts that ended in: no, later.", default="0"),
    required("max_failures", SmallInteger, "Retry budget; the failure that reaches it ends the item.", default="10"),
    required("lapses", SmallInteger, "Leases that ran out with no outcome; the third ends the item.", default="0"),
    optional("leased_by", Uuid, "Worker process that claimed it last; null before the first claim."),
    optional("order_key", Text, "Items of one key are worked on one at a time, by id; null: in any order."),
    optional("reason", Text, "Why the last attempt failed, or why it is dead; null: none has failed."),
    PrimaryKeyConstraint("stage", "id"),
    CheckConstraint("lane IN (0, 1, 2, 4, 8, 9)", name="lane"),
    CheckConstraint("lane > 4 OR (lane = 4) = (lapses > 0)", name="alone_since_lapsed"),
    CheckConstraint("lane <> 8 OR leased_by IS NOT NULL", name="leased_by_somebody"),
    CheckConstraint("lane <> 9 OR reason IS NOT NULL", name="dead_for_a_reason"),
    CheckConstraint("attempt >= 0", name="attempt"),
    CheckConstraint("failures >= 0 AND failures <= max_failures", name="failures"),
    CheckConstraint("lapses >= 0", name="lapses"),
    CheckConstraint("octet_length(reason) <= 1024", name="reason"),
    index(
        "work_items_due",
        "stage, lane, due_at, id",
        "Workers claim what is due, by lane; people list what is leased, lapsed or dead.",
        where="lane >= 0",
    ),
    index(
        "work_items_order",
        "stage, order_key, id",
        "A claim asks what comes before an item of the same key. What has failed holds up no other.",
        where="order_key IS NOT NULL AND failures = 0 AND lane < 9",
    ),
    postgresql_with=OFTEN,
    comment="What is to be done: one row from birth to outcome, whatever the stage. Dead items stay until they are"
    " retried by hand or pruned.",
)

# Every item is. What names items and not lanes does not say so, and is planned without the index of what is due: a
# planner that has last looked when nothing was to be done would read all of that index to find one item.
IN_A_LANE = work_items.c.lane >= text("0")

events = Table(
    "events",
    metadata,
    row_id(),
    required("key", Text, "The producer's idempotency key."),
    required("type", Text, "Event type: cl.comment.created."),
    required("topic", Text, "The change list it happened on."),
    required("actor", Text, "Username of who did it."),
    required("occurred_at", INSTANT, "When it happened, by the producer.", default="now()"),
    required("payload", JSONB, "What the type carries: for cl.comment.created the comment.", default="'{}'::jsonb"),
    required("status", Text, "pending, done or dead; who works on it is in work_items.", default="'pending'"),
    required("created_at", INSTANT, "When it was received.", default="now()"),
    optional("finished_at", INSTANT, "When it was fanned out or died; null before."),
    optional("traceparent", Text, "The producer's trace (W3C Trace Context, version 00); null: none."),
    optional("emptied_at", INSTANT, "When the words it carried were deleted; null: it has them still."),
    optional("key_hash", JSONB, "Digest of each stated field: two events of one key differ by it; null: not known."),
    UniqueConstraint("key"),
    CheckConstraint("status IN ('pending', 'done', 'dead')", name="status"),
    CheckConstraint("(finished_at IS NOT NULL) = (status IN ('done', 'dead'))", name="finished_when_final"),
    CheckConstraint("octet_length(traceparent) = 55", name="traceparent"),
    CheckConstraint("emptied_at IS NULL OR payload = '{}' AND finished_at IS NOT NULL", name="empty_when_emptied"),
    index(
        "events_topic",
        "topic, id",
        "People ask for all about a topic; the fan-out asks who has said something on it before.",
        include="actor, type",
    ),
    postgresql_with={**OFTEN, "fillfactor": 70},
    comment="What happened, until it is fanned out and after.",
)

email_jobs = Table(
    "email_jobs",
    metadata,
    row_id(),
    required("username", Text, "Whom the email is for."),
    required("to_email", Text, "Address at the fan-out, then where the email went."),
    optional("topic", Text, "What the email is about; null: whatever was deferred until one instant."),
    required("message_id", Text, "Message-ID without brackets, the same at every attempt."),
    required("status", Text, "pending, or how it ended; who is sending it is in work_items.", default="'pending'"),
    required("attempts", Integer, "How many attempts were begun when it ended last; 0: it never has.", default="0"),
    required("lapses", SmallInteger, "How many leases had run out when it ended last; 0: it never has.", default="0"),
    required("expires_at", INSTANT, "From then on it is not worth sending.", default="now() + interval '72 hours'"),
    optional("deferred_by", Text, "Why it waits or waited: hourly, daily, weekly, quiet_hours, pause; null: not."),
    optional("outcome_reason", Text, "Why skipped, dead or cancelled, or why the last attempt failed; null before."),
    optional("last_code", SmallInteger, "SMTP reply code of the last attempt; null if there was no reply."),
    optional("last_enhanced_code", Text, "RFC 3463 code of the last attempt; null if there was none."),
    optional("last_error", Text, "The relay's words at the last attempt that failed; never a credential."),
    optional("relay_reply", Text, "The relay's words when it took the email; null unless sent."),
    optional("relay", Text, "host:port of the relay that took the email; null unless sent."),
    optional("sent_in_ms", Integer, "How long the attempt took that sent it, in milliseconds; null unless sent."),
    optional(
        "replay_of",
        BigInteger,
        "The job whose notifications this one repeats by hand; null: it has its own.",
        ForeignKey("notify.email_jobs.id"),
    ),
    required("created_at", INSTANT, "When the fan-out wrote it.", default="now()"),
    optional("finished_at", INSTANT, "When it reached its final status; null before."),
    UniqueConstraint("message_id"),
    CheckConstraint("status IN ('pending', 'sent', 'skipped', 'dead', 'expired', 'cancelled')", name="status"),
    CheckConstraint("(finished_at IS NULL) = (status = 'pending')", name="finished_when_final"),
    CheckConstraint("attempts >= 0", name="attempts"),
    CheckConstraint("lapses >= 0", name="lapses"),
    CheckConstraint("octet_length(last_error) <= 1024", name="last_error"),
    CheckConstraint("octet_length(relay_reply) <= 1024", name="relay_reply"),
    CheckConstraint("status NOT IN ('skipped', 'dead') OR outcome_reason IS NOT NULL", name="reasoned"),
    CheckConstraint("deferred_by IN ('hourly', 'daily', 'weekly', 'quiet_hours', 'pause')", name="deferred_by"),
    CheckConstraint("sent_in_ms >= 0", name="sent_in_ms"),
    index(
        "email_jobs_replays",
        "replay_of",
        "People ask whether an email is being replayed; deleting it asks whether a replay needs it.",
        where="replay_of IS NOT NULL",
    ),
    postgresql_with={**OFTEN, "fillfactor": 60},
    comment="One row for each email: what became of it. Written at its birth and at its end, within its page.",
)

notifications = Table(
    "notifications",
    metadata,
    row_id(),
    required("event_id", BigInteger, "What happened.", ForeignKey(events.c.id, ondelete="CASCADE")),
    required("username", Text, "Whom it concerned."),
    required("event_type", Text, "The type under which the person is told; of a mention, cl.comment.mentioned."),
    required("reason", Text, "Why the event concerned the person: author, reviewer."),
    required("decision", Text, "told, by the email of email_job_id; or skipped."),
    required("why", Text, "The rule that decided, at the fan-out or the recheck."),
    optional(
        "email_job_id",
        BigInteger,
        "The email that tells of it; null: none does.",
        ForeignKey(email_jobs.c.id, ondelete="CASCADE"),
    ),
    CheckConstraint("decision IN ('told', 'skipped')", name="decision"),
    CheckConstraint("(decision = 'told') = (email_job_id IS NOT NULL)", name="told_by_an_email"),
    index(
        "notifications_once",
        "event_id, username",
        "The fan-out decides once about a person and an event; people ask what became of an event.",
        unique=True,
    ),
    index("notifications_person", "username, id", "People ask what somebody was told of, newest first."),
    index("notifications_email", "email_job_id", "The delivery asks what an email tells of; so does its deletion."),
    postgresql_with=OFTEN,
    comment="One row for each person whom an event concerned: told, or not, and why.",
)

bundles = Table(
    "bundles",
    metadata,
    required("username", Text, "To whom."),
    required("topic", Text, "About what; empty: about anything, deferred until an instant."),
    required("deferred_until", INSTANT, "Until when; -infinity: not deferred.", default="'-infinity'"),
    required("last_at", INSTANT, "When the last email left, or will leave."),
    optional("email_job_id", BigInteger, "The email that others join until it is claimed; null: none. May be gone."),
    PrimaryKeyConstraint("username", "topic", "deferred_until"),
    comment="The open email of a person and topic, or of all that is deferred until one instant. Whoever writes such"
    " a notification locks the row first.",
)

email_attempts = Table(
    "email_attempts",
    metadata,
    row_id(),
    required("job_id", BigInteger, "The job that was attempted.", ForeignKey(email_jobs.c.id, ondelete="CASCADE")),
    required("attempt", Integer, "Which attempt; with job_id it names the attempt."),
    required("at", INSTANT, "When the outcome was recorded.", default="now()"),
    optional("phase", Text, "Where in the conversation it ended; null if it never began."),
    optional("code", SmallInteger, "SMTP reply code; null if the relay said nothing."),
    optional("enhanced_code", Text, "RFC 3463 code; null if there was none."),
    optional("text", Text, "The relay's words, at most 1 KiB; never a credential."),
    required("verdict", Text, "retry, dead, skipped, expired or released, then the reason."),
    optional("relay", Text, "host:port of the relay; null if none was asked."),
    optional("took_ms", Integer, "How long the attempt took, in milliseconds; null if no email was written."),
    CheckConstraint("octet_length(text) <= 1024", name="text"),
    CheckConstraint("took_ms >= 0", name="took_ms"),
    index("email_attempts_job", "job_id, id", "People ask for the attempts of an email; so does its deletion."),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0.05},
    comment="Every attempt that did not end in sent; append-only.",
)
