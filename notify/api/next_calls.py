"""Which call an answer leads to, and with what of it: the links of the OpenAPI document."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

EVENTS = "/api/v1/events"
EVENT = "/api/v1/events/{key}"
JOBS = "/api/v1/jobs"
JOB = "/api/v1/jobs/{job_id}"
PERSON = "/api/v1/people/{username}"
CHANGE_LIST = "/api/v1/cls/{link}"
CONFIG = "/api/v1/user/notification/config"
CHOSEN = "/api/v1/user/notification/cls/{link}"
CHOICES = "/api/v1/user/notification/cls"
HISTORY = "/api/v1/user/notification/history"


@dataclass(frozen=True, slots=True, kw_only=True)
class NextCall:
    """
    One link.

    Args:
        after: The call whose answer leads on, as method and path.
        leads_to: The call that it leads to.
        taking: Its parameters, as runtime expressions of OpenAPI.
        sending: Its body, likewise; None: whatever the caller has to say.
    """

    name: str
    after: tuple[str, str]
    leads_to: tuple[str, str]
    description: str
    status: HTTPStatus = HTTPStatus.OK
    taking: Mapping[str, str] = field(default_factory=dict)
    sending: str | None = None


def _from_a_job(after: tuple[str, str], job_id: str, *, status: HTTPStatus = HTTPStatus.OK) -> list[NextCall]:
    """What can be done with a job that was answered."""
    calls = {
        "show": ("get", JOB, "The letter with every try, its event and the rules."),
        "letter": ("get", f"{JOB}/letter", "Its words, as they would be written today."),
        "retry": ("post", f"{JOB}/retry", "Make it due now."),
        "cancel": ("post", f"{JOB}/cancel", "End it before it is out."),
        "replay": ("post", f"{JOB}/replay", "Write it once more."),
    }
    return [
        NextCall(
            name=name,
            after=after,
            status=status,
            leads_to=(method, path),
            taking={"job_id": job_id},
            description=description,
        )
        for name, (method, path, description) in calls.items()
        if (method, path) != after
    ]


NEXT_CALLS = (
    NextCall(
        name="outcome",
        after=("post", EVENTS),
        status=HTTPStatus.ACCEPTED,
        leads_to=("get", EVENT),
        taking={"key": "$response.body#/key"},
        description="What became of the event, and for whom.",
    ),
    NextCall(
        name="jobs",
        after=("get", EVENT),
        leads_to=("get", JOBS),
        taking={"event_key": "$response.body#/key"},
        description="The letters about the event, for operators.",
    ),
    NextCall(
        name="change_list",
        after=("get", EVENT),
        leads_to=("get", CHANGE_LIST),
        taking={"link": "$response.body#/cl_link"},
        description="The change list it happened on.",
    ),
    NextCall(
        name="person",
        after=("get", EVENT),
        leads_to=("get", PERSON),
        taking={"username": "$response.body#/people/0/username"},
        description="The first person it concerned.",
    ),
    NextCall(
        name="next_page",
        after=("get", JOBS),
        leads_to=("get", JOBS),
        taking={"cursor": "$response.body#/next_cursor"},
        description="The next page, unless next_cursor is null; with the same question.",
    ),
    *_from_a_job(("get", JOBS), "$response.body#/jobs/0/id"),
    *_from_a_job(("get", JOB), "$response.body#/id"),
    *_from_a_job(("post", f"{JOB}/retry"), "$response.body#/id"),
    *_from_a_job(("post", f"{JOB}/cancel"), "$response.body#/id"),
    *_from_a_job(("post", f"{JOB}/replay"), "$response.body#/id", status=HTTPStatus.CREATED),
    NextCall(
        name="replace",
        after=("get", PERSON),
        leads_to=("put", PERSON),
        taking={"username": "$request.path.username"},
        description="Put other facts in place of these.",
    ),
    NextCall(
        name="stored",
        after=("put", PERSON),
        leads_to=("get", PERSON),
        taking={"username": "$request.path.username"},
        description="The person as stored.",
    ),
    NextCall(
        name="replace",
        after=("get", CHANGE_LIST),
        leads_to=("put", CHANGE_LIST),
        taking={"link": "$request.path.link"},
        description="Put other facts in place of these.",
    ),
    NextCall(
        name="stored",
        after=("put", CHANGE_LIST),
        leads_to=("get", CHANGE_LIST),
        taking={"link": "$request.path.link"},
        description="The change list as stored.",
    ),
    NextCall(
        name="put_back",
        after=("get", CONFIG),
        leads_to=("put", CONFIG),
        sending="$response.body",
        description="Put back what was read, or with changes.",
    ),
    NextCall(
        name="stored",
        after=("put", CONFIG),
        leads_to=("get", CONFIG),
        description="The choices as they stand.",
    ),
    NextCall(
        name="chosen",
        after=("put", CHOSEN),
        leads_to=("get", CHOICES),
        description="All change lists about which something was chosen.",
    ),
    NextCall(
        name="undo",
        after=("put", CHOSEN),
        leads_to=("delete", CHOSEN),
        taking={"link": "$request.path.link"},
        description="Forget what was chosen.",
    ),
    NextCall(
        name="choose",
        after=("get", HISTORY),
        leads_to=("put", CHOSEN),
        taking={"link": "$response.body#/letters/0/cl_link"},
        description="Mute the change list of the newest letter, or subscribe to it.",
    ),
    NextCall(
        name="next_page",
        after=("get", HISTORY),
        leads_to=("get", HISTORY),
        taking={"cursor": "$response.body#/next_cursor"},
        description="The next page, unless next_cursor is null.",
    ),
)


def describe(document: dict[str, Any]) -> None:
    """Write the links into an OpenAPI document that has these calls."""
    paths = document["paths"]
    for one in NEXT_CALLS:
        method, path = one.after
        following, its_path = one.leads_to
        answer = paths[path][method]["responses"][str(one.status.value)]
        answer.setdefault("links", {})[one.name] = {
            "operationId": paths[its_path][following]["operationId"],
            "description": one.description,
            **({"parameters": dict(one.taking)} if one.taking else {}),
            **({"requestBody": one.sending} if one.sending else {}),
        }
