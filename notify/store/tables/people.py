"""Tables of people, change lists, preferences and API tokens."""

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
    required("username", Text, "The person's name in the code review tool."),
    optional("email", Text, "Email address; null: unknown."),
    optional("display_name", Text, "Name shown to others; null: the username."),
    optional("locale", Text, "BCP 47 language tag; null: the deployment's default."),
    optional("timezone", Text, "IANA time zone; null: UTC."),
    required("is_bot", Boolean, "True: a bot, which gets required emails only.", default="false"),
    required("active", Boolean, "False: has left and gets no emails.", default="true"),
    optional("undeliverable_email", Text, "Address that a relay refused for good; ignored once it changes."),
    optional("undeliverable_at", INSTANT, "When the relay refused it; null with undeliverable_email."),
    optional("undeliverable_reply", Text, "The relay's reply; null with undeliverable_email."),
    PrimaryKeyConstraint("username"),
    CheckConstraint("(undeliverable_email IS NULL) = (undeliverable_at IS NULL)", name="undeliverable_with_instant"),
    index(
        "people_undeliverable",
        "username",
        "Metrics count undeliverable addresses.",
        where="undeliverable_email IS NOT NULL",
    ),
    index("people_called", "lower(normalize(username))", "The fan-out looks up people by the name in a mention."),
    comment="The directory: people and their addresses.",
)

change_lists = Table(
    "change_lists",
    metadata,
    required("link", Text, "Short name of the change list, such as CL-4821."),
    optional("title", Text, "Title, one line; null: unknown."),
    optional("url", Text, "Web page of the change list; null: unknown."),
    optional("repository", Text, "Repository, shown in subjects; null: unknown."),
    optional("author", Text, "Username of the author, who need not be in people yet; null: unknown."),
    required("state", Text, "open, merged or closed.", default="'open'"),
    optional("state_at", INSTANT, "Since when, according to the producer; null: nobody stated a state."),
    optional("first_title", Text, "The original title, which subjects keep; null: the title never changed."),
    optional("first_repository", Text, "The original repository, which subjects keep; null: it never changed."),
    PrimaryKeyConstraint("link"),
    CheckConstraint("state IN ('open', 'merged', 'closed')", name="state"),
    comment="The directory: change lists and their authors.",
)


def first_known(fact: str, stated: str) -> str:
    """SQL for first_title or first_repository of the row ``known`` when the fact changes to *stated*."""
    changed = f"CASE WHEN known.{fact} IS DISTINCT FROM {stated} THEN known.{fact} END"
    return f"coalesce(known.first_{fact}, {changed})"


cl_reviewers = Table(
    "cl_reviewers",
    metadata,
    required("topic", Text, "The change list.", ForeignKey(change_lists.c.link, ondelete="CASCADE")),
    required("username", Text, "Username of the reviewer, who need not be in people yet."),
    PrimaryKeyConstraint("topic", "username"),
    comment="The directory: reviewers of change lists.",
)

cl_owners = Table(
    "cl_owners",
    metadata,
    required("topic", Text, "The change list.", ForeignKey(change_lists.c.link, ondelete="CASCADE")),
    required("username", Text, "Username of an owner of what it changes, who need not be in people yet."),
    PrimaryKeyConstraint("topic", "username"),
    comment="The directory: owners of what a change list changes.",
)

notification_event_types = Table(
    "notification_event_types",
    metadata,
    required("code", Text, "Event type, such as cl.comment.created."),
    required("category", Text, "Group on the preferences page."),
    required("description", Text, "Label on the preferences page."),
    required("system_required", Boolean, "True: nobody can turn it off.", default="false"),
    required("default_enabled", Boolean, "Whether it is on for people without a stored preference.", default="true"),
    required("expires_after", Interval, "For how long an email of this type is still sent.", default="'72 hours'"),
    optional("bundle_within", Interval, "How long notifications are bundled; null: NOTIFY_BUNDLE_SECONDS; 0: never."),
    PrimaryKeyConstraint("code"),
    CheckConstraint("bundle_within BETWEEN interval '0' AND interval '1 day'", name="bundle_within"),
    CheckConstraint("expires_after > interval '0'", name="expires_after"),
    comment="Event types that people can turn on and off; rows come from migrations.",
)

user_notification_settings = Table(
    "user_notification_settings",
    metadata,
    required("username", Text, "The person's username."),
    optional("email", Text, "Address for emails; null: the address in people."),
    required("enabled", Boolean, "The master switch; false: required emails only.", default="true"),
    required("delivery_mode", Text, "realtime: immediately; hourly, daily, weekly: digests.", default="'realtime'"),
    required("participating", Boolean, "True: notify them where they have commented.", default="false"),
    required("own_actions", Boolean, "True: notify them about their own actions.", default="false"),
    required("mentions_pierce_mutes", Boolean, "True: mentions reach them despite a mute.", default="false"),
    required("digest_hour", SmallInteger, "Hour of daily and weekly digests, in the person's time zone.", default="9"),
    required("digest_weekday", SmallInteger, "ISO weekday of the weekly digest; 1 is Monday.", default="1"),
    optional("timezone", Text, "IANA time zone; null: the one in people."),
    optional("quiet_days", ARRAY(SmallInteger), "ISO weekdays on which quiet hours begin; null: no quiet hours."),
    optional("quiet_start", Time, "When quiet hours begin, in the person's time zone; null with quiet_days."),
    optional("quiet_end", Time, "When quiet hours end, on the next day if before quiet_start; null with quiet_days."),
    optional("paused_until", INSTANT, "Until then only required emails are sent; null: not paused."),
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
        "The fan-out looks for people who want emails about change lists they commented on.",
        where="participating",
    ),
    comment="Preferences about all emails; no row: the defaults.",
)

user_notification_preferences = Table(
    "user_notification_preferences",
    metadata,
    required("username", Text, "The person's username."),
    required(
        "event_type_code", Text, "The event type.", ForeignKey(notification_event_types.c.code, ondelete="CASCADE")
    ),
    required("enabled", Boolean, "True: on; false: off."),
    PrimaryKeyConstraint("username", "event_type_code"),
    comment="Preferences about single event types; no row: the type's default.",
)

topic_preferences = Table(
    "topic_preferences",
    metadata,
    required("username", Text, "The person's username."),
    required("topic", Text, "The change list."),
    required("muted", Boolean, "True: no emails about it, even if subscribed.", default="false"),
    required("subscribed", Boolean, "True: emails about it, whatever the person's role.", default="false"),
    PrimaryKeyConstraint("username", "topic"),
    CheckConstraint("muted OR subscribed", name="says_something"),
    index(
        "topic_preferences_subscribers",
        "topic, username",
        "The fan-out looks up a topic's subscribers.",
        where="subscribed",
    ),
    comment="Mutes and subscriptions; no row: neither. The topic need not be in change_lists yet.",
)

api_tokens = Table(
    "api_tokens",
    metadata,
    row_id(),
    required("name", Text, "What the token is for."),
    required("token_hash", Text, "SHA-256 of the token in hex; the token itself is never stored."),
    required("scopes", ARRAY(Text), "What it allows: events:write, directory:write, statuses:write, ops."),
    required("created_at", INSTANT, "When it was created.", default="now()"),
    optional("revoked_at", INSTANT, "When it was revoked; null: valid."),
    optional("last_used_at", INSTANT, "When it was last used, to the minute; null: never."),
    UniqueConstraint("token_hash"),
    CheckConstraint(
        "cardinality(scopes) > 0 AND scopes <@ ARRAY['events:write', 'directory:write', 'statuses:write', 'ops']",
        name="scopes",
    ),
    comment="Bearer tokens of programs.",
)
