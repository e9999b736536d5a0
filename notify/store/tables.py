"""Every table of the schema ``notify``, as SQLAlchemy Core sees it. Migrations must prove equal to this."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    case,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.schema import SchemaItem

SCHEMA = "notify"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
    },
)

INSTANT = DateTime(timezone=True)
NOW = text("now()")
SERVES = "serves"
OFTEN = {
    "autovacuum_vacuum_scale_factor": 0.01,
    "autovacuum_vacuum_threshold": 10_000,
    "autovacuum_analyze_scale_factor": 0.02,
    "autovacuum_vacuum_cost_limit": 1_000,
}


def required(name: str, kind: Any, comment: str, *more: SchemaItem, default: Any = None) -> Column[Any]:  # noqa: ANN401
    """A column that holds something in every row."""
    return Column(name, kind, *more, nullable=False, server_default=default, comment=comment)


def optional(name: str, kind: Any, comment: str, *more: SchemaItem) -> Column[Any]:  # noqa: ANN401
    """A column of which *comment* says what null means."""
    return Column(name, kind, *more, comment=comment)


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), comment="Ascending number of the row.")


notification_event_types = Table(
    "notification_event_types",
    metadata,
    required("code", Text, "Event type, past participle, dotted: cl.comment.created."),
    required("category", Text, "Heading under which people find the type."),
    required("description", Text, "One sentence for the preferences page."),
    required("system_required", Boolean, "True means that nobody can switch it off.", default=text("false")),
    required("default_enabled", Boolean, "What holds for people who have chosen nothing.", default=text("true")),
    required(
        "expires_after",
        Interval,
        "How long after it is written an email of this type is worth sending.",
        default=text("'72 hours'"),
    ),
    optional(
        "bundle_within",
        Interval,
        "Later notifications to the same person about the same topic are bundled for this long; null: the"
        " deployment's default, 0: never.",
    ),
    PrimaryKeyConstraint("code"),
    CheckConstraint("bundle_within BETWEEN interval '0' AND interval '1 day'", name="bundle_within"),
    CheckConstraint("expires_after > interval '0'", name="expires_after"),
    comment="Kinds of events people can choose about; seeded by migrations.",
)

people = Table(
    "people",
    metadata,
    required("username", Text, "The name the code review tool knows the person by."),
    optional("email", Text, "Where the person reads mail; null means unknown."),
    optional("display_name", Text, "The person's name for others to read; null means the username."),
    optional("locale", Text, "BCP 47 language tag; null means the deployment's default."),
    optional("timezone", Text, "IANA time zone; null means UTC."),
    required("is_bot", Boolean, "Bots get no optional emails.", default=text("false")),
    required("active", Boolean, "False means has left; gets no emails.", default=text("true")),
    optional(
        "undeliverable_email",
        Text,
        "Address that a relay refused for good; counts only while it is still the person's address.",
    ),
    optional("undeliverable_at", INSTANT, "When the relay refused it; null with undeliverable_email."),
    optional("undeliverable_reply", Text, "The relay's words; null with undeliverable_email."),
    PrimaryKeyConstraint("username"),
    CheckConstraint("(undeliverable_email IS NULL) = (undeliverable_at IS NULL)", name="undeliverable_with_instant"),
    comment="The directory: who reads mail where.",
)

Index(
    "people_undeliverable",
    people.c.username,
    postgresql_where=people.c.undeliverable_email.is_not(None),
    info={SERVES: "Metrics ask how many addresses are undeliverable."},
)

Index(
    "people_called",
    func.lower(func.normalize(people.c.username)),
    info={SERVES: "The fan-out asks who is called so in a mention."},
)

change_lists = Table(
    "change_lists",
    metadata,
    required("link", Text, "Short name of the change list: CL-4821."),
    optional("title", Text, "One line; null means unknown."),
    optional("url", Text, "Page of the change list; null means unknown."),
    optional("repository", Text, "Repository, for the subject of emails; null means unknown."),
    optional("author", Text, "Username of the author; null means unknown. Need not be in people yet."),
    required("state", Text, "open, merged or closed.", default=text("'open'")),
    optional("state_at", INSTANT, "Since when the state is so, by who stated it; null means that nobody has."),
    optional(
        "first_title", Text, "The first known title, which the subject keeps; null means that there was no other."
    ),
    optional(
        "first_repository",
        Text,
        "The first known repository, which the subject keeps; null means that there was no other.",
    ),
    PrimaryKeyConstraint("link"),
    CheckConstraint("state IN ('open', 'merged', 'closed')", name="state"),
    comment="The directory: change lists and who wrote them.",
)


def first_known(fact: str, stated: ColumnElement[Any]) -> ColumnElement[Any]:
    """What ``first_title`` or ``first_repository`` becomes when the title or the repository does."""
    column, first = change_lists.c[fact], change_lists.c[f"first_{fact}"]
    return case((column.is_distinct_from(stated), func.coalesce(first, column)), else_=first)


cl_reviewers = Table(
    "cl_reviewers",
    metadata,
    required("topic", Text, "The change list.", ForeignKey(change_lists.c.link, ondelete="CASCADE")),
    required("username", Text, "Reviewer. Need not be in people yet."),
    PrimaryKeyConstraint("topic", "username"),
    comment="The directory: who reviews what.",
)

user_notification_settings = Table(
    "user_notification_settings",
    metadata,
    required("username", Text, "Whose choice."),
    optional("email", Text, "Where emails go; null means the directory's address."),
    required("enabled", Boolean, "The master switch.", default=text("true")),
    required(
        "delivery_mode",
        Text,
        "realtime: emails go at once; hourly, daily, weekly: together, at that hour.",
        default=text("'realtime'"),
    ),
    required(
        "participating",
        Boolean,
        "Whether they want emails about change lists on which they have said something.",
        default=text("false"),
    ),
    required("own_actions", Boolean, "Whether they want emails about what they do themselves.", default=text("false")),
    required(
        "mentions_pierce_mutes",
        Boolean,
        "Whether a mention reaches them on a change list that they have muted.",
        default=text("false"),
    ),
    required(
        "digest_hour",
        SmallInteger,
        "Hour of the daily and the weekly digest, by the person's clock.",
        default=text("9"),
    ),
    required("digest_weekday", SmallInteger, "ISO weekday of the weekly digest; 1 is Monday.", default=text("1")),
    optional("timezone", Text, "IANA time zone; null means the directory's."),
    optional(
        "quiet_days", ARRAY(SmallInteger), "ISO weekdays on which quiet hours begin; null means that there are none."
    ),
    optional("quiet_start", Time, "When quiet hours begin, by the person's clock; null with quiet_days."),
    optional(
        "quiet_end", Time, "When quiet hours end, the next day if that is before quiet_start; null with quiet_days."
    ),
    optional("paused_until", INSTANT, "No email before this instant but required ones; null means not paused."),
    PrimaryKeyConstraint("username"),
    CheckConstraint("delivery_mode IN ('realtime', 'hourly', 'daily', 'weekly')", name="delivery_mode"),
    CheckConstraint("digest_hour BETWEEN 0 AND 23", name="digest_hour"),
    CheckConstraint("digest_weekday BETWEEN 1 AND 7", name="digest_weekday"),
    CheckConstraint("num_nulls(quiet_days, quiet_start, quiet_end) IN (0, 3)", name="quiet_whole"),
    CheckConstraint("cardinality(quiet_days) > 0 AND quiet_days <@ '{1,2,3,4,5,6,7}'::smallint[]", name="quiet_days"),
    CheckConstraint("quiet_start <> quiet_end", name="quiet_end"),
    CheckConstraint("isfinite(paused_until)", name="paused_until"),
    comment="Choices about all emails. No row means the defaults.",
)

Index(
    "user_notification_settings_participating",
    user_notification_settings.c.username,
    postgresql_where=user_notification_settings.c.participating,
    info={SERVES: "The fan-out asks who wants emails where they have said something."},
)

user_notification_preferences = Table(
    "user_notification_preferences",
    metadata,
    required("username", Text, "Whose choice."),
    required(
        "event_type_code", Text, "The kind of event.", ForeignKey(notification_event_types.c.code, ondelete="CASCADE")
    ),
    required("enabled", Boolean, "The explicit choice."),
    PrimaryKeyConstraint("username", "event_type_code"),
    comment="Choices about single kinds of events. No row means the type's default.",
)

topic_preferences = Table(
    "topic_preferences",
    metadata,
    required("username", Text, "Whose preference."),
    required("topic", Text, "The change list."),
    required("muted", Boolean, "True: no emails about it, even if subscribed.", default=text("false")),
    required("subscribed", Boolean, "True: emails about it, whatever the role.", default=text("false")),
    PrimaryKeyConstraint("username", "topic"),
    CheckConstraint("muted OR subscribed", name="says_something"),
    comment="Preferences about single topics. No row means neither. The topic need not be in change_lists yet.",
)

Index(
    "topic_preferences_subscribers",
    topic_preferences.c.topic,
    topic_preferences.c.username,
    postgresql_where=topic_preferences.c.subscribed,
    info={SERVES: "The fan-out asks who has subscribed to a topic."},
)

work_items = Table(
    "work_items",
    metadata,
    required("stage", Text, "Which stage works it off: fan_out, deliver."),
    required("id", BigInteger, "Id of the row in the stage's own table: an event, an email job."),
    required(
        "lane",
        SmallInteger,
        "0 urgent, 1 normal, 2 bulk, claimed in that order; 4 lapsed, claimed alone; 8 leased; 9 dead.",
    ),
    required(
        "due_at",
        INSTANT,
        "Nobody may claim it before this instant. Leased: when the lease ends; dead: when it died.",
        default=NOW,
    ),
    required(
        "attempt",
        Integer,
        "Rises by one at every claim and never falls; (stage, id, attempt) names one attempt for ever.",
        default=text("0"),
    ),
    required("failures", SmallInteger, "Attempts that ended in: no, later.", default=text("0")),
    required(
        "max_failures", SmallInteger, "Retry budget; the failure that reaches it ends the item.", default=text("10")
    ),
    required(
        "lapses",
        SmallInteger,
        "Leases that ran out with no outcome recorded; the third ends the item.",
        default=text("0"),
    ),
    optional("leased_by", Uuid, "Worker process that claimed it last; null before the first claim."),
    optional(
        "order_key",
        Text,
        "Items of one key are worked on in the order of their ids, by one worker at a time; null: in any.",
    ),
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
    postgresql_with=OFTEN,
    comment="What is to be done: one row from birth to outcome, whatever the stage. Dead items stay until they are"
    " retried by hand or pruned.",
)

# Every item is. What names items and not lanes does not say so, and is planned without the index of what is due: a
# planner that has last looked when nothing was to be done would read all of that index to find one item.
IN_A_LANE = work_items.c.lane >= text("0")
Index(
    "work_items_due",
    work_items.c.stage,
    work_items.c.lane,
    work_items.c.due_at,
    work_items.c.id,
    postgresql_where=IN_A_LANE,
    info={SERVES: "Workers claim what is due, lane by lane; people list what is leased, lapsed or dead."},
)
Index(
    "work_items_order",
    work_items.c.stage,
    work_items.c.order_key,
    work_items.c.id,
    postgresql_where=work_items.c.order_key.is_not(None)
    & (work_items.c.failures == text("0"))
    & (work_items.c.lane < text("9")),
    info={SERVES: "A claim asks what comes before an item of the same key. What has failed holds up no other."},
)

events = Table(
    "events",
    metadata,
    _id(),
    required("key", Text, "The producer's idempotency key."),
    required("type", Text, "Event type: cl.comment.created."),
    required("topic", Text, "The change list it happened on."),
    required("actor", Text, "Username of who did it."),
    required("occurred_at", INSTANT, "When it happened, by the producer.", default=NOW),
    required(
        "payload",
        JSONB,
        "What the type carries besides: for cl.comment.created the comment.",
        default=text("'{}'::jsonb"),
    ),
    required("status", Text, "pending, done or dead; who works on it is in work_items.", default=text("'pending'")),
    required("created_at", INSTANT, "When it was received.", default=NOW),
    optional("finished_at", INSTANT, "When it was fanned out or died; null before."),
    optional(
        "traceparent", Text, "Trace in which the producer emitted it (W3C Trace Context, version 00); null: in none."
    ),
    optional("emptied_at", INSTANT, "When the words it carried were deleted; null: it has them still."),
    optional(
        "key_hash",
        JSONB,
        "Digest of each field that the producer stated, to tell the same event from another with its key;"
        " null: not known.",
    ),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("key"),
    CheckConstraint("status IN ('pending', 'done', 'dead')", name="status"),
    CheckConstraint("(finished_at IS NOT NULL) = (status IN ('done', 'dead'))", name="finished_when_final"),
    CheckConstraint("octet_length(traceparent) = 55", name="traceparent"),
    CheckConstraint("emptied_at IS NULL OR payload = '{}' AND finished_at IS NOT NULL", name="empty_when_emptied"),
    postgresql_with={**OFTEN, "fillfactor": 70},
    comment="What happened, until it is fanned out and after.",
)

Index(
    "events_topic",
    events.c.topic,
    events.c.id,
    postgresql_include=["actor", "type"],
    info={SERVES: "People ask for all about a topic; the fan-out asks who has said something on it before."},
)

email_jobs = Table(
    "email_jobs",
    metadata,
    _id(),
    required("username", Text, "Whom the email is for."),
    required("to_email", Text, "Address at the fan-out, then where the email went."),
    optional("topic", Text, "What the email is about; null: whatever was deferred until one instant."),
    required("message_id", Text, "Message-ID without brackets, the same at every attempt."),
    required(
        "status", Text, "pending, or how it ended; who is sending it is in work_items.", default=text("'pending'")
    ),
    required(
        "attempts", Integer, "How many attempts were begun when it ended last; 0: it never has.", default=text("0")
    ),
    required(
        "lapses",
        SmallInteger,
        "How many workers had vanished with it when it ended last; 0: it never has.",
        default=text("0"),
    ),
    required(
        "expires_at",
        INSTANT,
        "After this instant the email is not worth sending.",
        default=text("now() + interval '72 hours'"),
    ),
    optional(
        "deferred_by",
        Text,
        "What the email waits or has waited for: hourly, daily, weekly (a digest), quiet_hours, pause; null: nothing.",
    ),
    optional("outcome_reason", Text, "Why skipped, dead or cancelled, or why the last attempt failed; null before."),
    optional("last_code", SmallInteger, "SMTP reply code of the last attempt; null if there was no reply."),
    optional("last_enhanced_code", Text, "RFC 3463 code of the last attempt; null if there was none."),
    optional("last_error", Text, "The relay's words at the last attempt that failed; never a credential."),
    optional("relay_reply", Text, "The relay's words when it took the email; null unless sent."),
    optional("relay", Text, "host:port of the relay that took the email; null unless sent."),
    optional(
        "sent_in_ms",
        Integer,
        "How long the attempt took that the relay ended with yes, from its first word; null unless sent.",
    ),
    optional(
        "replay_of",
        BigInteger,
        "The job whose notifications this one repeats by hand; null: it has its own.",
        ForeignKey("notify.email_jobs.id"),
    ),
    required("created_at", INSTANT, "When the fan-out wrote it.", default=NOW),
    optional("finished_at", INSTANT, "When it reached its final status; null before."),
    PrimaryKeyConstraint("id"),
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
    postgresql_with={**OFTEN, "fillfactor": 60},
    comment="One row for each email: what became of it. Written at its birth and at its end, within its page.",
)

Index(
    "email_jobs_replays",
    email_jobs.c.replay_of,
    postgresql_where=email_jobs.c.replay_of.is_not(None),
    info={SERVES: "People ask whether an email is being replayed; deleting it asks whether a replay needs it."},
)

notifications = Table(
    "notifications",
    metadata,
    _id(),
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
    PrimaryKeyConstraint("id"),
    CheckConstraint("decision IN ('told', 'skipped')", name="decision"),
    CheckConstraint("(decision = 'told') = (email_job_id IS NOT NULL)", name="told_by_an_email"),
    postgresql_with=OFTEN,
    comment="One row for each person whom an event concerned: told, or not, and why.",
)

Index(
    "notifications_once",
    notifications.c.event_id,
    notifications.c.username,
    unique=True,
    info={SERVES: "The fan-out decides once about a person and an event; people ask what became of an event."},
)
Index(
    "notifications_person",
    notifications.c.username,
    notifications.c.id,
    info={SERVES: "People ask what somebody was told of, newest first."},
)
Index(
    "notifications_email",
    notifications.c.email_job_id,
    info={SERVES: "The delivery asks what an email tells of; deleting an email deletes that."},
)

bundles = Table(
    "bundles",
    metadata,
    required("username", Text, "To whom."),
    required("topic", Text, "About what; empty: about anything, deferred until an instant."),
    required(
        "deferred_until",
        INSTANT,
        "Until when these are deferred; -infinity: they are not.",
        default=text("'-infinity'"),
    ),
    required("last_at", INSTANT, "When the last email left, or will leave."),
    optional(
        "email_job_id", BigInteger, "The email that others join while nobody has claimed it; null: none. May be gone."
    ),
    PrimaryKeyConstraint("username", "topic", "deferred_until"),
    comment="The open email of a person and topic, or of all that is deferred until one instant. Whoever writes such"
    " a notification locks the row first.",
)

email_attempts = Table(
    "email_attempts",
    metadata,
    _id(),
    required("job_id", BigInteger, "The job that was attempted.", ForeignKey(email_jobs.c.id, ondelete="CASCADE")),
    required("attempt", Integer, "Which attempt; with job_id it names the attempt."),
    required("at", INSTANT, "When the outcome was recorded.", default=NOW),
    optional("phase", Text, "Where in the conversation it ended; null if it never began."),
    optional("code", SmallInteger, "SMTP reply code; null if the relay said nothing."),
    optional("enhanced_code", Text, "RFC 3463 code; null if there was none."),
    optional("text", Text, "The relay's words, at most 1 KiB; never a credential."),
    required("verdict", Text, "retry, dead, skipped, expired or released, then the reason."),
    optional("relay", Text, "host:port of the relay; null if none was asked."),
    optional(
        "took_ms", Integer, "How long the attempt took, from its first word to its end; null if no email was written."
    ),
    PrimaryKeyConstraint("id"),
    CheckConstraint("octet_length(text) <= 1024", name="text"),
    CheckConstraint("took_ms >= 0", name="took_ms"),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0.05},
    comment="Every attempt that did not end in sent; append-only.",
)

Index(
    "email_attempts_job",
    email_attempts.c.job_id,
    email_attempts.c.id,
    info={SERVES: "People ask for the attempts of an email; deleting an email deletes them."},
)

smtp_relays = Table(
    "smtp_relays",
    metadata,
    required("relay", Text, "host:port."),
    required("state", Text, "closed: emails flow; open: none is claimed.", default=text("'closed'")),
    required("failures", Integer, "Relay failures in a row, over all workers.", default=text("0")),
    required("openings", Integer, "Openings in a row; doubles the wait.", default=text("0")),
    optional("probe_at", INSTANT, "When one worker may try again; null while closed."),
    optional("reason", Text, "Why it opened: relay, configuration; null while it never did."),
    optional("last_error", Text, "The relay's words at the last failure; never a credential."),
    required("changed_at", INSTANT, "When the state changed last.", default=NOW),
    optional(
        "muted_at",
        INSTANT,
        "When somebody muted it: whatever its state, no email is claimed; null while it is not muted.",
    ),
    optional("muted_because", Text, "Why, in their words; null if they gave none."),
    required(
        "suspects",
        ARRAY(Text, as_tuple=True),
        "Digests of the recipients refused for policy since the relay took an email last; three say that it"
        " is about us.",
        default=text("'{}'"),
    ),
    PrimaryKeyConstraint("relay"),
    CheckConstraint("state IN ('closed', 'open')", name="state"),
    CheckConstraint("(state = 'open') = (probe_at IS NOT NULL)", name="probed_while_open"),
    CheckConstraint("octet_length(last_error) <= 1024", name="last_error"),
    CheckConstraint("muted_because IS NULL OR muted_at IS NOT NULL", name="explained_while_muted"),
    CheckConstraint("octet_length(muted_because) <= 1024", name="muted_because"),
    comment="Circuit breakers, one for each relay, shared by all workers.",
)

rate_buckets = Table(
    "rate_buckets",
    metadata,
    required("bucket", Text, "relay and its host:port, or domain and its name in NOTIFY_DOMAIN_RATES."),
    required("spent_until", INSTANT, "When it is as if no email had gone.", default=NOW),
    required("queued_until", INSTANT, "When the last email has its turn that was put off.", default=NOW),
    PrimaryKeyConstraint("bucket"),
    CheckConstraint("bucket LIKE 'relay %' OR bucket LIKE 'domain %'", name="bucket"),
    comment="How much of a rate is used up, over all workers.",
)

relay_shares = Table(
    "relay_shares",
    metadata,
    required("relay", Text, "host:port."),
    required("worker", Uuid, "Worker process."),
    required("wanted", Integer, "How many it has a use for."),
    required("sessions", Integer, "How many it may have, 0: it waits for others to give up theirs."),
    required("until", INSTANT, "When they are free again if it asks for no more time."),
    PrimaryKeyConstraint("relay", "worker"),
    CheckConstraint("wanted > 0", name="wanted"),
    CheckConstraint("sessions >= 0", name="sessions"),
    comment="How many of the sessions that all workers may have with a relay each worker process has.",
)

delivery_stats = Table(
    "delivery_stats",
    metadata,
    required("minute", INSTANT, "Start of the minute."),
    required("worker", Uuid, "Worker process."),
    required("event_type", Text, "Event type of the emails."),
    required(
        "outcome",
        Text,
        "sent, retry, dead, …, late_success, duplicate_sent, lease_lost; besides them ambiguous and lapse.",
    ),
    required("count", Integer, "How many."),
    PrimaryKeyConstraint("minute", "worker", "event_type", "outcome"),
    CheckConstraint("count > 0", name="count"),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1_000, "fillfactor": 70},
    comment="Counts of outcomes, written in the transaction that records them.",
)

delivery_totals = Table(
    "delivery_totals",
    metadata,
    required("event_type", Text, "Event type of the emails."),
    required("outcome", Text, "As in delivery_stats."),
    required("count", BigInteger, "How many; never falls."),
    required("until", INSTANT, "The latest of all rows: the minutes before it are counted here."),
    PrimaryKeyConstraint("event_type", "outcome"),
    CheckConstraint("count > 0", name="count"),
    comment="What delivery_stats has counted since the beginning, but for its last minutes.",
)

process_totals = Table(
    "process_totals",
    metadata,
    required("process", Uuid, "Process that counted; all zeros: all those that are gone."),
    required("measure", Text, "What was counted: doorbell_sent, sweep_found, smtp, to_sent and the like."),
    required("label", Text, "Of which kind: a stage, a phase, the upper bound of a bucket in seconds."),
    required("count", BigInteger, "How many."),
    required("seconds", Double, "How long they took together; 0 where nothing takes time."),
    required("changed_at", INSTANT, "When the process added to it last.", default=NOW),
    PrimaryKeyConstraint("process", "measure", "label"),
    CheckConstraint("count > 0", name="count"),
    CheckConstraint("seconds >= 0", name="seconds"),
    comment="What only a process itself knows, counted since its start.",
)

api_tokens = Table(
    "api_tokens",
    metadata,
    _id(),
    required("name", Text, "What the token is for, for people to read."),
    required("token_hash", Text, "SHA-256 of the token, hex; the token itself is never stored."),
    required("scopes", ARRAY(Text), "events:write, directory:write, ops."),
    required("created_at", INSTANT, "When it was made.", default=NOW),
    optional("revoked_at", INSTANT, "When it was revoked; null while valid."),
    optional("last_used_at", INSTANT, "When it last opened something, to the minute; null if it never did."),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("token_hash"),
    CheckConstraint(
        "cardinality(scopes) > 0 AND scopes <@ ARRAY['events:write', 'directory:write', 'ops']",
        name="scopes",
    ),
    comment="Bearer tokens of programs.",
)
