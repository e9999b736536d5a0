"""The event types of other packages: whether each can be used, and is in the table."""

from collections.abc import Iterator

from notify.channels.languages import Languages
from notify.cli.checks import Finding
from notify.cli.connect import Deployment
from notify.domain.custom_types import CustomEventType
from notify.domain.errors import InvalidSettings
from notify.entry_points import custom_event_types
from notify.store.directory.event_types import every

WHY = "Events of this type wait, and are dead after an hour."
RETRY = "restart the workers; then notify events retry --reason unknown_type"


def event_types(deployment: Deployment) -> Iterator[Finding]:
    """One finding for each entry point; none if no package has any."""
    found = custom_event_types()
    for wrong in found.refused:
        fix = f"install another version of {wrong.distribution}; {RETRY}"
        yield Finding(f"event type {wrong.name}", False, f"{wrong.distribution}: {wrong.why}", WHY, fix)
    if not found.types:
        return
    for one in found.types.values():
        yield from _translations(one)
    with deployment.database.begin() as connection:
        stored = {one.code for one in every(connection)}
    for code in found.types:
        words = "is in the table" if code in stored else "is not in the table of event types"
        yield Finding(f"event type {code}", code in stored, words, WHY, "notify types sync")


def _translations(one: CustomEventType) -> Iterator[Finding]:
    try:
        Languages([one.templates])
    except InvalidSettings as error:
        why = "Its emails and its labels are not translated."
        yield Finding(f"translations of {one.code}", False, str(error), why, "mend the catalogue; restart the workers")
