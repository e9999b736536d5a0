"""The event type ``acme.build.failed`` for notify."""

from collections.abc import Iterator
from pathlib import Path

from notify import AudienceMember, CustomEventType, Event, InvolvedPeople, Reason

ON_CALL = "oncall"


def whom_a_failed_build_concerns(event: Event, involved: InvolvedPeople) -> Iterator[AudienceMember]:
    """The author; and who is on call, unless they started the build."""
    if involved.change_list.author:
        yield AudienceMember(involved.change_list.author, Reason.AUTHOR)
    if event.actor != ON_CALL:
        yield AudienceMember(ON_CALL, Reason.OWNER)


BUILD_FAILED = CustomEventType(
    code="acme.build.failed",
    category="Builds",
    description="The build of a change list fails.",
    audience=whom_a_failed_build_concerns,
    templates=Path(__file__).parent / "templates",
)
