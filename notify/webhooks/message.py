"""What a webhook call says: ids, and more only if its endpoint asks for it."""

import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any

from notify.domain.webhooks import ADDRESS, EMAIL_DEAD, EMAIL_SENT, EVENT_DONE, NOTIFICATION_SKIPPED, PAYLOAD
from notify.store.webhooks.calls import Call

Facts = Mapping[str, Any]

_OF_EMAIL = ("replay_of", "message_id", "username", "topic", "attempts", "notification_count")
_OF_NOTIFICATION = ("event_key", "event_type", "topic", "reason")


def body(call: Call, facts: Facts, *, include: frozenset[str]) -> bytes:
    """The body. Source: Standard Webhooks, "Payload structure"."""
    content = {
        "type": call.type,
        "timestamp": call.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "data": {**_data(call, facts, include), "outcome": call.outcome, "why": call.why},
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _data(call: Call, facts: Facts, include: frozenset[str]) -> dict[str, Any]:
    match call.type:
        case type_ if type_ in {EMAIL_SENT, EMAIL_DEAD}:
            return _email(facts, include)
        case type_ if type_ == NOTIFICATION_SKIPPED:
            told = _notification(facts["notification"], include)
            return {"notification_id": facts["id"], "username": facts["username"], **told}
        case type_ if type_ == EVENT_DONE:
            ids = {"event_key": facts["key"], "event_type": facts["type"], "topic": facts["topic"]}
            return {**ids, "told": facts["told"], "skipped": facts["skipped"], **_payload(facts, include)}
    return {}


def _email(facts: Facts, include: frozenset[str]) -> dict[str, Any]:
    data = {"job_id": facts["id"], **{name: facts[name] for name in _OF_EMAIL}}
    if ADDRESS in include:
        data["to_email"] = facts["to_email"]
    listed = facts["notifications"] or ()
    return {**data, "notifications": [{"id": one["id"], **_notification(one, include)} for one in listed]}


def _notification(facts: Facts, include: frozenset[str]) -> dict[str, Any]:
    return {**{name: facts[name] for name in _OF_NOTIFICATION}, **_payload(facts, include)}


def _payload(facts: Facts, include: frozenset[str]) -> dict[str, Any]:
    return {"payload": facts["payload"]} if PAYLOAD in include else {}
