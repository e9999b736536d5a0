"""Tables of who reads mail where, what they prefer, which change lists there are, and which programs may call."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    ForeignKey,
    Interval,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Time,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY

from notify.store.tables.schema import INSTANT, index, metadata, optional, required, row_id

people = Table(
    "people",
    metadata,
    required("username", Text, "The name the code review tool knows the person by."),
    optional("email", Text, "Where the person reads mail; null means unknown."),
    optional("display_name", Text, "The person's name for others to read; null means the username."),
    optional("locale", Text, "BCP 47 language tag; null means the deployment's default."),
    optional("timezone", Text, "IANA time zone; null means UTC."),
    required("is_bot", Boolean, "Bots get no optional emails.", default="false"),
    required("active", Boolean, "False means has left; gets no emails.", default="true"),
    optional("undeliverable_email", Text, "Address that a relay refused for good; void once the person has another."),
    optional("undeliverable_at", INSTANT, "When the relay refused it; null with undeliverable_email."),
    optional("undeliverable_reply", Text, "The relay's words; null with undeliverable_email."),
    PrimaryKeyConstraint("username"),
    CheckConstraint("(undeliverable_email IS NULL) = (undeliverable_at IS NULL)", name="undeliverable_with_instant"),
    index(
        "people_undeliverable",
        "username",
        "Metrics ask how many addresses are undeliverable.",
        where="undeliverable_email IS NOT NULL",
    ),
    index("people_called", "lower(normalize(username))", "The fan-out asks who is called so in a mention."),
    comment="The directory: who reads mail where.",
)

change_lists = Table(
    "change_lists",
    metadata,
    required("link", Text, "Short name of the change list: CL-4821."),
    optional("title", Text, "One line; null means unknown."),
    optional("url", Text, "Page of the change list; null means unknown."),
    optional("repository", Text, "Repository, for the subject of emails; null means unknown."),
    optional("author", Text, "Username of the author; null means unknown. Need not be in people yet."),
    required("state", Text, "open, merged or closed.", default="'open'"),
    optional("state_at", INSTANT, "Since when the state is so, by who stated it; null means that nobody has."),
    optional("first_title", Text, "The title before the first change, for the subject; null: never changed."),
    optional("first_repository", Text, "The same of the repository; null: never changed."),
    PrimaryKeyConstraint("link"),
    CheckConstraint("state IN ('open', 'merged', 'closed')", name="state"),
    comment="The directory: change lists and who wrote them.",
)


def first_known(fact: str, stated: str) -> str:
    """What first_title or first_repository of the row ``known`` becomes when the fact does, as SQL."""
    changed = f"CASE WHEN known.{fact} IS DISTINCT FROM {stated} THEN known.{fact} END"
    return f"coalesce(known.first_{fact}, {changed})"


cl_reviewers = Table(
    "cl_reviewers",
    metadata,
    required("topic", Text, "The change list.", ForeignKey(change_lists.c.link, ondelete="CASCADE")),
    required("username", Text, "Reviewer. Need not be in people yet."),
    PrimaryKeyConstraint("topic", "username"),
    comment="The directory: who reviews what.",
)

notification_event_types = Table(
    "notification_event_types",
    metadata,
    required("code", Text, "Event type, past participle, dotted: cl.comment.created."),
    required("category", Text, "Heading under which people find the type."),
    required("description", Text, "One sentence for the preferences page."),
    required("system_required", Boolean, "True means that nobody can switch it off.", default="false"),
    required("default_enabled", Boolean, "What holds for people who have stored nothing.", default="true"),
    required("expires_after", Interval, "How long an email of this type is worth sending.", default="'72 hours'"),
    optional(
        "bundle_within", Interval, "How long notifications are bundled; null: the deployment's default, 0: never."
    ),
    PrimaryKeyConstraint("code"),
    CheckConstraint("bundle_within BETWEEN interval '0' AND interval '1 day'", name="bundle_within"),
    CheckConstraint("expires_after > interval '0'", name="expires_after"),
    comment="Kinds of events people can choose about; seeded by migrations.",
)

user_notification_settings = Table(
    "user_notification_settings",
    metadata,
    required("username", Text, "Whose preference."),
    optional("email", Text, "Where emails go; null means the directory's address."),
    required("enabled", Boolean, "The master switch.", default="true"),
    required("delivery_mode", Text, "realtime: at once; hourly, daily, weekly: in a digest.", default="'realtime'"),
    required("participating", Boolean, "Whether they want emails about what they have commented on.", default="false"),
    required("own_actions", Boolean, "Whether they want emails about what they do themselves.", default="false"),
    required("mentions_pierce_mutes", Boolean, "Whether a mention reaches them in spite of a mute.", default="false"),
    required("digest_hour", SmallInteger, "Hour of daily and weekly digests, by the person's clock.", default="9"),
    required("digest_weekday", SmallInteger, "ISO weekday of the weekly digest; 1 is Monday.", default="1"),
    optional("timezone", Text, "IANA time zone; null means the directory's."),
    optional("quiet_days", ARRAY(SmallInteger), "ISO weekdays on which quiet hours begin; null means none."),
    optional("quiet_start", Time, "When quiet hours begin, by the person's clock; null with quiet_days."),
    optional("quiet_end", Time, "When they end, the next day if before quiet_start; null with quiet_days."),
    optional("paused_until", INSTANT, "No email before this instant but required ones; null means not paused."),
    PrimaryKeyConstraint("username"),
    CheckConstraint("delivery_mode IN ('realtime', 'hourly', 'daily', 'weekly')", name="delivery_mode"),
    CheckConstraint("digest_hour BETWEEN 0 AND 23", name="digest_hour"),
    CheckConstraint("digest_weekday BETWEEN 1 AND 7", name="digest_weekday"),
    CheckConstraint("num_nulls(quiet_days, quiet_start, quiet_end) IN (0, 3)", name="quiet_whole"),
    CheckConstraint("cardinality(quiet_days) > 0 AND quiet_days <@ '{1,2,3,4,5,6,7}'::smallint[]", name="quiet_days"),
    CheckConstraint("quiet_start <> quiet_end", name="quiet_end"),
    CheckConstraint("isfinite(paused_until)", name="paused_until"),
    index(
        "user_notification_settings_participating",
        "username",
        "The fan-out asks who wants emails where they have said something.",
        where="participating",
    ),
    comment="Preferences about all emails. No row means the defaults.",
)

user_notification_preferences = Table(
    "user_notification_preferences",
    metadata,
    required("username", Text, "Whose preference."),
    required(
        "event_type_code", Text, "The kind of event.", ForeignKey(notification_event_types.c.code, ondelete="CASCADE")
    ),
    required("enabled", Boolean, "The explicit preference."),
    PrimaryKeyConstraint("username", "event_type_code"),
    comment="Preferences about single kinds of events. No row means the type's default.",
)

topic_preferences = Table(
    "topic_preferences",
    metadata,
    required("username", Text, "Whose preference."),
    required("topic", Text, "The change list."),
    required("muted", Boolean, "True: no emails about it, even if subscribed.", default="false"),
    required("subscribed", Boolean, "True: emails about it, whatever the role.", default="false"),
    PrimaryKeyConstraint("username", "topic"),
    CheckConstraint("muted OR subscribed", name="says_something"),
    index(
        "topic_preferences_subscribers",
        "topic, username",
        "The fan-out asks who has subscribed to a topic.",
        where="subscribed",
    ),
    comment="Preferences about single topics. No row means neither. The topic need not be in change_lists yet.",
)

api_tokens = Table(
    "api_tokens",
    metadata,
    row_id(),
    required("name", Text, "What the token is for, for people to read."),
    required("token_hash", Text, "SHA-256 of the token, hex; the token itself is never stored."),
    required("scopes", ARRAY(Text), "events:write, directory:write, ops."),
    required("created_at", INSTANT, "When it was made.", default="now()"),
    optional("revoked_at", INSTANT, "When it was revoked; null while valid."),
    optional("last_used_at", INSTANT, "When it last opened something, to the minute; null if it never did."),
    UniqueConstraint("token_hash"),
    CheckConstraint(
        "cardinality(scopes) > 0 AND scopes <@ ARRAY['events:write', 'directory:write', 'ops']", name="scopes"
    ),
    comment="Bearer tokens of programs.",
)
