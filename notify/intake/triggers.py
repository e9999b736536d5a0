"""One function for each event type: whom an event of that type concerns."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from notify.domain.audience import Concerned, author_and_reviewers
from notify.domain.events import COMMENT_CREATED, ChangeList, Event

Trigger = Callable[[Event, ChangeList], tuple[Concerned, ...]]


def comment_created(_event: Event, change_list: ChangeList) -> tuple[Concerned, ...]:
    """A comment concerns the author and the reviewers of its change list."""
    return author_and_reviewers(change_list)


TRIGGERS: Mapping[str, Trigger] = MappingProxyType({COMMENT_CREATED: comment_created})
