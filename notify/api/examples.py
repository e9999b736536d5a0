"""Request bodies that work as they stand, for ``/docs``."""

FACTS = {
    "title": "Cap the upload retry",
    "url": "https://review.example/CL-4821",
    "repository": "monorepo",
    "author": "alice",
    "reviewers": ["bob", "dana"],
}
CHANGE_LIST = {**FACTS, "state": "open"}
EVENT = {
    "key": "comment-8731",
    "type": "cl.comment.created",
    "actor": "dana",
    "cl": {"link": "CL-4821", **FACTS},
    "comment": {
        "id": "8731",
        "body": "The *jitter* has to come after the cap.",
        "url": "https://review.example/CL-4821#c8731",
        "path": "src/upload/retry.py",
        "line": 42,
        "code": "delay = base * 2 ** n",
    },
}
MERGED = {"key": "merge-4821", "type": "cl.merged", "actor": "alice", "cl": {"link": "CL-4821"}}
PERSON = {
    "email": "alice@example.com",
    "display_name": "Alice Meyer",
    "locale": "en-GB",
    "timezone": "Europe/Berlin",
}
PREFERENCES = {
    "delivery_mode": "daily",
    "digest": {"hour": 9},
    "quiet_hours": {"days": [1, 2, 3, 4, 5], "start": "22:00", "end": "07:00"},
    "preferences": [{"event_type_code": "cl.merged", "enabled": False}],
}
MUTE = {"muted": True}
