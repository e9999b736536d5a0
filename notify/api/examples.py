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
STATUS = {
    "forge": "github",
    "repository": "acme/app",
    "sha": "9f8c7d6e5b4a39281706f5e4d3c2b1a098765432",
    "context": "ci/build",
    "state": "failure",
    "description": "3 of 40 tests failed",
    "target_url": "https://ci.example/builds/17",
}
CHECK_RUN = {
    **STATUS,
    "context": "ci/tests",
    "kind": "check_run",
    "output": {
        "title": "3 of 40 tests failed",
        "summary": "The retry is *not* capped.",
        "annotations": [
            {
                "path": "src/upload/retry.py",
                "start_line": 42,
                "end_line": 42,
                "level": "failure",
                "message": "The delay grows without a limit.",
            }
        ],
    },
}
WEBHOOK_ENDPOINT = {"name": "crm", "url": "https://crm.example/notify", "types": ["email.dead", "event.done"]}
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
