"""
Everyone whom a batch of events may concern, with today's facts about them, in one statement.

Decided: every row is returned as a JSON document, so that one statement can load all kinds.
Decided: people and preferences are looked up one by one (LATERAL, fenced by OFFSET): the planner cannot know how many
    people an event concerns.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection

from notify.domain.events import COMMENT_CREATED, REVIEW_SUBMITTED, ChangeList
from notify.domain.preferences import EventType, Person, Preferences
from notify.store.directory.directory import CHANGE_LISTS, change_list_of
from notify.store.directory.preferences import of_all_emails

_ASK = f"""
    WITH cl AS MATERIALIZED ({CHANGE_LISTS}
    ), subscriber AS MATERIALIZED (
        SELECT topic, username FROM notify.topic_preferences WHERE topic = ANY (%(topics)s::text[]) AND subscribed
    ), participant AS MATERIALIZED (
        SELECT topic, actor AS username, min(id) AS since FROM notify.events
        WHERE topic = ANY (%(topics)s::text[]) AND type IN ('{COMMENT_CREATED}', '{REVIEW_SUBMITTED}')
            AND actor = ANY (ARRAY(SELECT username FROM notify.user_notification_settings WHERE participating))
        GROUP BY topic, actor
    ), who AS MATERIALIZED (
        SELECT unnest(%(names)s::text[]) AS username
        UNION SELECT author FROM cl UNION SELECT unnest(reviewers || owners) FROM cl
        UNION SELECT username FROM subscriber UNION SELECT username FROM participant
        UNION SELECT called.username FROM unnest(%(called)s::text[]) AS said(name) CROSS JOIN LATERAL (
            SELECT username FROM notify.people WHERE lower(normalize(username)) = lower(normalize(said.name)) OFFSET 0
        ) AS called
    )
    SELECT 'cl', link, to_jsonb(cl) FROM cl
    UNION ALL SELECT 'subscribers', topic, jsonb_agg(username ORDER BY username) FROM subscriber GROUP BY topic
    UNION ALL SELECT 'participants', topic, jsonb_object_agg(username, since) FROM participant GROUP BY topic
    UNION ALL SELECT 'person', who.username, to_jsonb(person) FROM who CROSS JOIN LATERAL (
        SELECT {", ".join(Person.__slots__)} FROM notify.people WHERE people.username = who.username OFFSET 0
    ) AS person
    UNION ALL SELECT 'settings', who.username, to_jsonb(stored) FROM who CROSS JOIN LATERAL (
        SELECT * FROM notify.user_notification_settings AS own WHERE own.username = who.username OFFSET 0
    ) AS stored
    UNION ALL SELECT 'preferences', who.username, found.chosen FROM who CROSS JOIN LATERAL (
        SELECT jsonb_object_agg(event_type_code, enabled) AS chosen FROM notify.user_notification_preferences AS own
        WHERE own.username = who.username
    ) AS found WHERE found.chosen IS NOT NULL
    UNION ALL SELECT 'muted', who.username, found.topics FROM who CROSS JOIN LATERAL (
        SELECT jsonb_agg(topic) AS topics FROM notify.topic_preferences AS own
        WHERE own.username = who.username AND own.topic = ANY (%(topics)s::text[]) AND own.muted
    ) AS found WHERE found.topics IS NOT NULL
    UNION ALL SELECT 'type', code, to_jsonb(kind) || jsonb_build_object(
        'bundle_within', extract(epoch FROM bundle_within)
    ) FROM notify.notification_event_types AS kind"""

_Documents = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """
    Today's facts: change lists, subscribers and participants by topic; people and preferences by username.

    Participants map to the id of the first event in which they commented or reviewed. People who have stored nothing
    have no preferences. ``told_broken`` has, by event id, what ``InvolvedPeople`` has of this name.
    """

    change_lists: Mapping[str, ChangeList] = field(default_factory=dict)
    subscribers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    participants: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    people: Mapping[str, Person] = field(default_factory=dict)
    preferences: Mapping[str, Preferences] = field(default_factory=dict)
    event_types: Mapping[str, EventType] = field(default_factory=dict)
    told_broken: Mapping[int, Mapping[str, AbstractSet[str]]] = field(default_factory=dict)


def around(connection: Connection, topics: Iterable[str], *, names: Iterable[str], called: Iterable[str]) -> Known:
    """
    Everyone concerned with these topics, and the named people, with the preferences that matter here.

    Args:
        called: Names from mentions, in any case and Unicode form.
    """
    asked = {"topics": sorted(set(topics)), "names": sorted(set(names)), "called": sorted(set(called))}
    found: dict[str, dict[str, Any]] = {}
    for kind, name, document in connection.exec_driver_sql(_ASK, asked).cursor.fetchall():
        found.setdefault(kind, {})[name] = document
    subscribers = {topic: tuple(names) for topic, names in found.get("subscribers", {}).items()}
    return Known(
        change_lists={link: change_list_of(one) for link, one in found.get("cl", {}).items()},
        subscribers=subscribers,
        participants=found.get("participants", {}),
        people={name: Person(**one) for name, one in found.get("person", {}).items()},
        preferences=_preferences(found, subscribers),
        event_types={code: _event_type(one) for code, one in found.get("type", {}).items()},
    )


def _preferences(found: Mapping[str, _Documents], subscribers: Mapping[str, Sequence[str]]) -> dict[str, Preferences]:
    subscribed: dict[str, list[str]] = {}
    for topic, names in subscribers.items():
        for name in names:
            subscribed.setdefault(name, []).append(topic)
    settings, preferences, muted = (found.get(kind, {}) for kind in ("settings", "preferences", "muted"))
    return {
        name: Preferences(
            **_of_all(settings[name]) if name in settings else {},
            preferences=preferences.get(name, {}),
            muted_cls=frozenset(muted.get(name, ())),
            subscribed_cls=frozenset(subscribed.get(name, ())),
        )
        for name in settings.keys() | preferences.keys() | muted.keys() | subscribed.keys()
    }


def _of_all(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``Preferences`` about all emails."""
    until = stored["paused_until"]
    instants = {name: _time(stored[name]) for name in ("quiet_start", "quiet_end")}
    row = {**stored, **instants, "paused_until": until and datetime.fromisoformat(until)}
    return of_all_emails(row)


def _time(text: str | None) -> time | None:
    return None if text is None else time.fromisoformat(text)


def _event_type(stored: Mapping[str, Any]) -> EventType:
    seconds = stored["bundle_within"]
    within = None if seconds is None else timedelta(seconds=seconds)
    return EventType(**{**{name: stored[name] for name in EventType.__slots__}, "bundle_within": within})
