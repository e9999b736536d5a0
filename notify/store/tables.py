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


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), comment="Ascending number of the row.")


notification_event_types = Table(
    "notification_event_types",
    metadata,
    Column("code", Text, comment="Event type, past participle, dotted: cl.comment.created."),
    Column("category", Text, nullable=False, comment="Heading under which people find the type."),
    Column("description", Text, nullable=False, comment="One sentence for the preferences page."),
    Column(
        "system_required",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="True means that nobody can switch it off.",
    ),
    Column(
        "default_enabled",
        Boolean,
        nullable=False,
        server_default=text("true"),
        comment="What holds for people who have chosen nothing.",
    ),
    Column(
        "expires_after",
        Interval,
        nullable=False,
        server_default=text("'72 hours'"),
        comment="How long after it is written an email of this type is worth sending.",
    ),
    Column(
        "bundle_within",
        Interval,
        comment="Later notifications to the same person about the same topic are bundled for this long;"
        " null: the deployment's default, 0: never.",
    ),
    PrimaryKeyConstraint("code"),
    CheckConstraint("bundle_within BETWEEN interval '0' AND interval '1 day'", name="bundle_within"),
    CheckConstraint("expires_after > interval '0'", name="expires_after"),
    comment="Kinds of events people can choose about; seeded by migrations.",
)

people = Table(
    "people",
    metadata,
    Column("username", Text, comment="The name the code review tool knows the person by."),
    Column("email", Text, comment="Where the person reads mail; null means unknown."),
    Column(
        "display_name",
        Text,
        comment="The person's name for others to read; null means the username.",
    ),
    Column("locale", Text, comment="BCP 47 language tag; null means the deployment's default."),
    Column("timezone", Text, comment="IANA time zone; null means UTC."),
    Column(
        "is_bot",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="Bots get no optional emails.",
    ),
    Column(
        "active",
        Boolean,
        nullable=False,
        server_default=text("true"),
        comment="False means has left; gets no emails.",
    ),
    Column(
        "undeliverable_email",
        Text,
        comment="Address that a relay refused for good; counts only while it is still the person's address.",
    ),
    Column(
        "undeliverable_at",
        INSTANT,
        comment="When the relay refused it; null with undeliverable_email.",
    ),
    Column("undeliverable_reply", Text, comment="The relay's words; null with undeliverable_email."),
    PrimaryKeyConstraint("username"),
    CheckConstraint(
        "(undeliverable_email IS NULL) = (undeliverable_at IS NULL)",
        name="undeliverable_with_instant",
    ),
    comment="The directory: who reads mail where.",
)

Index(
    "people_undeliverable",
    people.c.username,
    postgresql_where=people.c.undeliverable_email.is_not(None),
    info={SERVES: "Metrics ask how many addresses are undeliverable."},
)

change_lists = Table(
    "change_lists",
    metadata,
    Column("link", Text, comment="Short name of the change list: CL-4821."),
    Column("title", Text, comment="One line; null means unknown."),
    Column("url", Text, comment="Page of the change list; null means unknown."),
    Column("repository", Text, comment="Repository, for the subject of emails; null means unknown."),
    Column(
        "author",
        Text,
        comment="Username of the author; null means unknown. Need not be in people yet.",
    ),
    Column(
        "state",
        Text,
        nullable=False,
        server_default=text("'open'"),
        comment="open, merged or closed.",
    ),
    Column("state_at", INSTANT, comment="Since when the state is so, by who stated it; null means that nobody has."),
    Column(
        "first_title",
        Text,
        comment="The first known title, which the subject keeps; null means that there was no other.",
    ),
    Column(
        "first_repository",
        Text,
        comment="The first known repository, which the subject keeps; null means that there was no other.",
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
    Column(
        "topic",
        Text,
        ForeignKey(change_lists.c.link, ondelete="CASCADE"),
        comment="The change list.",
    ),
    Column("username", Text, comment="Reviewer. Need not be in people yet."),
    PrimaryKeyConstraint("topic", "username"),
    comment="The directory: who reviews what.",
)

user_notification_settings = Table(
    "user_notification_settings",
    metadata,
    Column("username", Text, comment="Whose choice."),
    Column("email", Text, comment="Where emails go; null means the directory's address."),
    Column(
        "enabled",
        Boolean,
        nullable=False,
        server_default=text("true"),
        comment="The master switch.",
    ),
    Column(
        "delivery_mode",
        Text,
        nullable=False,
        server_default=text("'realtime'"),
        comment="realtime: emails go at once; hourly, daily, weekly: together, at that hour.",
    ),
    Column(
        "participating",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="Whether they want emails about change lists on which they have said something.",
    ),
    Column(
        "own_actions",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="Whether they want emails about what they do themselves.",
    ),
    Column(
        "mentions_pierce_mutes",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="Whether a mention reaches them on a change list that they have muted.",
    ),
    Column(
        "digest_hour",
        SmallInteger,
        nullable=False,
        server_default=text("9"),
        comment="Hour of the daily and the weekly digest, by the person's clock.",
    ),
    Column(
        "digest_weekday",
        SmallInteger,
        nullable=False,
        server_default=text("1"),
        comment="ISO weekday of the weekly digest; 1 is Monday.",
    ),
    Column("timezone", Text, comment="IANA time zone; null means the directory's."),
    Column(
        "quiet_days",
        ARRAY(SmallInteger),
        comment="ISO weekdays on which quiet hours begin; null means that there are none.",
    ),
    Column("quiet_start", Time, comment="When quiet hours begin, by the person's clock; null with quiet_days."),
    Column(
        "quiet_end",
        Time,
        comment="When quiet hours end, the next day if that is before quiet_start; null with quiet_days.",
    ),
    Column(
        "paused_until",
        INSTANT,
        comment="No email before this instant but required ones; null means not paused.",
    ),
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
    Column("username", Text, comment="Whose choice."),
    Column(
        "event_type_code",
        Text,
        ForeignKey(notification_event_types.c.code, ondelete="CASCADE"),
        comment="The kind of event.",
    ),
    Column("enabled", Boolean, nullable=False, comment="The explicit choice."),
    PrimaryKeyConstraint("username", "event_type_code"),
    comment="Choices about single kinds of events. No row means the type's default.",
)

cl_mutes = Table(
    "cl_mutes",
    metadata,
    Column("topic", Text, comment="The change list that the person has muted."),
    Column("username", Text, comment="Whose choice."),
    PrimaryKeyConstraint("username", "topic"),
    comment="Change lists that people do not want emails about. Need not be in change_lists yet.",
)

cl_subscriptions = Table(
    "cl_subscriptions",
    metadata,
    Column("topic", Text, comment="The change list."),
    Column("username", Text, comment="Who has asked for its emails."),
    PrimaryKeyConstraint("topic", "username"),
    comment="Change lists whose emails people have asked for. Need not be in change_lists yet.",
)

Index(
    "cl_subscriptions_person",
    cl_subscriptions.c.username,
    info={SERVES: "People ask what they have subscribed to."},
)

work_items = Table(
    "work_items",
    metadata,
    Column("stage", Text, comment="Which stage works it off: fan_out, deliver."),
    Column("id", BigInteger, comment="Id of the row in the stage's own table: an event, an email job."),
    Column(
        "lane",
        SmallInteger,
        nullable=False,
        comment="0 urgent, 1 normal, 2 bulk, claimed in that order; 4 lapsed, claimed alone; 8 leased; 9 dead.",
    ),
    Column(
        "due_at",
        INSTANT,
        nullable=False,
        server_default=NOW,
        comment="Nobody may claim it before this instant. Leased: when the lease ends; dead: when it died.",
    ),
    Column(
        "attempt",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="Rises by one at every claim and never falls; (stage, id, attempt) names one attempt for ever.",
    ),
    Column(
        "failures",
        SmallInteger,
        nullable=False,
        server_default=text("0"),
        comment="Attempts that ended in: no, later.",
    ),
    Column(
        "max_failures",
        SmallInteger,
        nullable=False,
        server_default=text("10"),
        comment="Retry budget; the failure that reaches it ends the item.",
    ),
    Column(
        "lapses",
        SmallInteger,
        nullable=False,
        server_default=text("0"),
        comment="Leases that ran out with no outcome recorded; the third ends the item.",
    ),
    Column("leased_by", Uuid, comment="Worker process that claimed it last; null before the first claim."),
    Column(
        "order_key",
        Text,
        comment="Items of one key are worked on in the order of their ids, by one worker at a time; null: in any.",
    ),
    Column("reason", Text, comment="Why the last attempt failed, or why it is dead; null: none has failed."),
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
    Column("key", Text, nullable=False, comment="The producer's idempotency key."),
    Column("type", Text, nullable=False, comment="Event type: cl.comment.created."),
    Column("topic", Text, nullable=False, comment="The change list it happened on."),
    Column("actor", Text, nullable=False, comment="Username of who did it."),
    Column(
        "occurred_at",
        INSTANT,
        nullable=False,
        server_default=NOW,
        comment="When it happened, by the producer.",
    ),
    Column(
        "payload",
        JSONB,
        nullable=False,
        server_default=text("'{}'::jsonb"),
        comment="What the type carries besides: for cl.comment.created the comment.",
    ),
    Column(
        "status",
        Text,
        nullable=False,
        server_default=text("'pending'"),
        comment="pending, done or dead; who works on it is in work_items.",
    ),
    Column("created_at", INSTANT, nullable=False, server_default=NOW, comment="When it was received."),
    Column("finished_at", INSTANT, comment="When it was fanned out or died; null before."),
    Column(
        "traceparent",
        Text,
        comment="Trace in which the producer emitted it (W3C Trace Context, version 00); null: in none.",
    ),
    Column("emptied_at", INSTANT, comment="When the words it carried were deleted; null: it has them still."),
    Column(
        "key_hash",
        JSONB,
        comment="Digest of each field that the producer stated, to tell the same event from another with its key;"
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
    Column("username", Text, nullable=False, comment="Whom the email is for."),
    Column("to_email", Text, nullable=False, comment="Address at the fan-out, then where the email went."),
    Column("topic", Text, comment="What the email is about; null: whatever was deferred until one instant."),
    Column("message_id", Text, nullable=False, comment="Message-ID without brackets, the same at every attempt."),
    Column(
        "status",
        Text,
        nullable=False,
        server_default=text("'pending'"),
        comment="pending, or how it ended; who is sending it is in work_items.",
    ),
    Column(
        "attempts",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="How many attempts were begun when it ended last; 0: it never has.",
    ),
    Column(
        "lapses",
        SmallInteger,
        nullable=False,
        server_default=text("0"),
        comment="How many workers had vanished with it when it ended last; 0: it never has.",
    ),
    Column(
        "expires_at",
        INSTANT,
        nullable=False,
        server_default=text("now() + interval '72 hours'"),
        comment="After this instant the email is not worth sending.",
    ),
    Column(
        "deferred_by",
        Text,
        comment="What the email waits or has waited for: hourly, daily, weekly (a digest), quiet_hours, pause;"
        " null: nothing.",
    ),
    Column(
        "outcome_reason",
        Text,
        comment="Why skipped, dead or cancelled, or why the last attempt failed; null before.",
    ),
    Column(
        "last_code",
        SmallInteger,
        comment="SMTP reply code of the last attempt; null if there was no reply.",
    ),
    Column("last_enhanced_code", Text, comment="RFC 3463 code of the last attempt; null if there was none."),
    Column(
        "last_error",
        Text,
        comment="The relay's words at the last attempt that failed; never a credential.",
    ),
    Column("relay_reply", Text, comment="The relay's words when it took the email; null unless sent."),
    Column("relay", Text, comment="host:port of the relay that took the email; null unless sent."),
    Column(
        "sent_in_ms",
        Integer,
        comment="How long the attempt took that the relay ended with yes, from its first word; null unless sent.",
    ),
    Column(
        "replay_of",
        BigInteger,
        ForeignKey("notify.email_jobs.id"),
        comment="The job whose notifications this one repeats by hand; null: it has its own.",
    ),
    Column(
        "created_at",
        INSTANT,
        nullable=False,
        server_default=NOW,
        comment="When the fan-out wrote it.",
    ),
    Column("finished_at", INSTANT, comment="When it reached its final status; null before."),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("message_id"),
    CheckConstraint(
        "status IN ('pending', 'sent', 'skipped', 'dead', 'expired', 'cancelled')",
        name="status",
    ),
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
    Column(
        "event_id",
        BigInteger,
        ForeignKey(events.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="What happened.",
    ),
    Column("username", Text, nullable=False, comment="Whom it concerned."),
    Column(
        "event_type",
        Text,
        nullable=False,
        comment="The type under which the person is told; of a mention, cl.comment.mentioned.",
    ),
    Column("reason", Text, nullable=False, comment="Why the event concerned the person: author, reviewer."),
    Column("decision", Text, nullable=False, comment="told, by the email of email_job_id; or skipped."),
    Column("why", Text, nullable=False, comment="The rule that decided, at the fan-out or the recheck."),
    Column(
        "email_job_id",
        BigInteger,
        ForeignKey(email_jobs.c.id, ondelete="CASCADE"),
        comment="The email that tells of it; null: none does.",
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
    Column("username", Text, comment="To whom."),
    Column("topic", Text, comment="About what; empty: about anything, deferred until an instant."),
    Column(
        "deferred_until",
        INSTANT,
        server_default=text("'-infinity'"),
        comment="Until when these are deferred; -infinity: they are not.",
    ),
    Column("last_at", INSTANT, nullable=False, comment="When the last email left, or will leave."),
    Column(
        "email_job_id",
        BigInteger,
        comment="The email that others join while nobody has claimed it; null: none. May be gone.",
    ),
    PrimaryKeyConstraint("username", "topic", "deferred_until"),
    comment="The open email of a person and topic, or of all that is deferred until one instant. Whoever writes such"
    " a notification locks the row first.",
)

email_attempts = Table(
    "email_attempts",
    metadata,
    _id(),
    Column(
        "job_id",
        BigInteger,
        ForeignKey(email_jobs.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="The job that was attempted.",
    ),
    Column("attempt", Integer, nullable=False, comment="Which attempt; with job_id it names the attempt."),
    Column("at", INSTANT, nullable=False, server_default=NOW, comment="When the outcome was recorded."),
    Column("phase", Text, comment="Where in the conversation it ended; null if it never began."),
    Column("code", SmallInteger, comment="SMTP reply code; null if the relay said nothing."),
    Column("enhanced_code", Text, comment="RFC 3463 code; null if there was none."),
    Column("text", Text, comment="The relay's words, at most 1 KiB; never a credential."),
    Column(
        "verdict",
        Text,
        nullable=False,
        comment="retry, dead, skipped, expired or released, then the reason.",
    ),
    Column("relay", Text, comment="host:port of the relay; null if none was asked."),
    Column(
        "took_ms",
        Integer,
        comment="How long the attempt took, from its first word to its end; null if no email was written.",
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
    Column("relay", Text, comment="host:port."),
    Column(
        "state",
        Text,
        nullable=False,
        server_default=text("'closed'"),
        comment="closed: emails flow; open: none is claimed.",
    ),
    Column(
        "failures",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="Relay failures in a row, over all workers.",
    ),
    Column(
        "openings",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="Openings in a row; doubles the wait.",
    ),
    Column("probe_at", INSTANT, comment="When one worker may try again; null while closed."),
    Column("reason", Text, comment="Why it opened: relay, configuration; null while it never did."),
    Column("last_error", Text, comment="The relay's words at the last failure; never a credential."),
    Column(
        "changed_at",
        INSTANT,
        nullable=False,
        server_default=NOW,
        comment="When the state changed last.",
    ),
    Column(
        "muted_at",
        INSTANT,
        comment="When somebody muted it: whatever its state, no email is claimed; null while it is not muted.",
    ),
    Column("muted_because", Text, comment="Why, in their words; null if they gave none."),
    Column(
        "suspects",
        ARRAY(Text, as_tuple=True),
        nullable=False,
        server_default=text("'{}'"),
        comment=(
            "Digests of the recipients refused for policy since the relay took an email last; "
            "three say that it is about us."
        ),
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
    Column("bucket", Text, comment="relay and its host:port, or domain and its name in NOTIFY_DOMAIN_RATES."),
    Column(
        "spent_until",
        INSTANT,
        nullable=False,
        server_default=NOW,
        comment="When it is as if no email had gone.",
    ),
    Column(
        "queued_until",
        INSTANT,
        nullable=False,
        server_default=NOW,
        comment="When the last email has its turn that was put off.",
    ),
    PrimaryKeyConstraint("bucket"),
    CheckConstraint("bucket LIKE 'relay %' OR bucket LIKE 'domain %'", name="bucket"),
    comment="How much of a rate is used up, over all workers.",
)

relay_shares = Table(
    "relay_shares",
    metadata,
    Column("relay", Text, comment="host:port."),
    Column("worker", Uuid, comment="Worker process."),
    Column("wanted", Integer, nullable=False, comment="How many it has a use for."),
    Column(
        "sessions",
        Integer,
        nullable=False,
        comment="How many it may have, 0: it waits for others to give up theirs.",
    ),
    Column("until", INSTANT, nullable=False, comment="When they are free again if it asks for no more time."),
    PrimaryKeyConstraint("relay", "worker"),
    CheckConstraint("wanted > 0", name="wanted"),
    CheckConstraint("sessions >= 0", name="sessions"),
    comment="How many of the sessions that all workers may have with a relay each worker process has.",
)

delivery_stats = Table(
    "delivery_stats",
    metadata,
    Column("minute", INSTANT, comment="Start of the minute."),
    Column("worker", Uuid, comment="Worker process."),
    Column("event_type", Text, comment="Event type of the emails."),
    Column(
        "outcome",
        Text,
        comment="sent, retry, dead, …, late_success, duplicate_sent, lease_lost; besides them ambiguous and lapse.",
    ),
    Column("count", Integer, nullable=False, comment="How many."),
    PrimaryKeyConstraint("minute", "worker", "event_type", "outcome"),
    CheckConstraint("count > 0", name="count"),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1_000, "fillfactor": 70},
    comment="Counts of outcomes, written in the transaction that records them.",
)

delivery_totals = Table(
    "delivery_totals",
    metadata,
    Column("event_type", Text, comment="Event type of the emails."),
    Column("outcome", Text, comment="As in delivery_stats."),
    Column("count", BigInteger, nullable=False, comment="How many; never falls."),
    Column("until", INSTANT, nullable=False, comment="The latest of all rows: the minutes before it are counted here."),
    PrimaryKeyConstraint("event_type", "outcome"),
    CheckConstraint("count > 0", name="count"),
    comment="What delivery_stats has counted since the beginning, but for its last minutes.",
)

process_totals = Table(
    "process_totals",
    metadata,
    Column("process", Uuid, comment="Process that counted; all zeros: all those that are gone."),
    Column("measure", Text, comment="What was counted: doorbell_sent, sweep_found, smtp, to_sent and the like."),
    Column("label", Text, comment="Of which kind: a stage, a phase, the upper bound of a bucket in seconds."),
    Column("count", BigInteger, nullable=False, comment="How many."),
    Column("seconds", Double, nullable=False, comment="How long they took together; 0 where nothing takes time."),
    Column("changed_at", INSTANT, nullable=False, server_default=NOW, comment="When the process added to it last."),
    PrimaryKeyConstraint("process", "measure", "label"),
    CheckConstraint("count > 0", name="count"),
    CheckConstraint("seconds >= 0", name="seconds"),
    comment="What only a process itself knows, counted since its start.",
)

api_tokens = Table(
    "api_tokens",
    metadata,
    _id(),
    Column("name", Text, nullable=False, comment="What the token is for, for people to read."),
    Column(
        "token_hash",
        Text,
        nullable=False,
        comment="SHA-256 of the token, hex; the token itself is never stored.",
    ),
    Column("scopes", ARRAY(Text), nullable=False, comment="events:write, directory:write, ops."),
    Column("created_at", INSTANT, nullable=False, server_default=NOW, comment="When it was made."),
    Column("revoked_at", INSTANT, comment="When it was revoked; null while valid."),
    Column("last_used_at", INSTANT, comment="When it last opened something, to the minute; null if it never did."),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("token_hash"),
    CheckConstraint(
        "cardinality(scopes) > 0 AND scopes <@ ARRAY['events:write', 'directory:write', 'ops']",
        name="scopes",
    ),
    comment="Bearer tokens of programs.",
)
