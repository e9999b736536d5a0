"""What an application emitted during a test, for its assertions."""

from collections.abc import Iterator
from dataclasses import dataclass

from notify.domain.similar_names import instead_of
from notify.intake.schema import EventIn
from notify.intake.triggers import emittable
from notify.statuses.schema import StatusIn
from notify.testing.recorder import EmittedRecorder


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Emitted:
    """
    The events that were emitted and not rolled back, in order. Each has a key, made up if the application gave none.

    What is in a transaction that is still open counts as emitted.
    """

    _recorder: EmittedRecorder

    def __iter__(self) -> Iterator[EventIn]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __contains__(self, key: object) -> bool:
        return any(event.key == key for event in self)

    def __getitem__(self, key: str) -> EventIn:
        """The event with this key. Raises KeyError, which names those that there are."""
        for event in self:
            if event.key == key:
                return event
        message = f"{key!r} is not in {self!r}"
        raise KeyError(message)

    def __repr__(self) -> str:
        return f"Emitted({', '.join(f'{event.type} {event.key!r}' for event in self)})"

    def of(self, event_type: str) -> list[EventIn]:
        """
        The events of this type, in order.

        Raises:
            ValueError: No application can emit it, so that asserting its absence would prove nothing.
        """
        if event_type not in emittable():
            message = f"{event_type!r} is no event type; {instead_of(event_type, emittable())}"
            raise ValueError(message)
        return [event for event in self if event.type == event_type]

    def one(self, event_type: str) -> EventIn:
        """The only event of this type. Raises AssertionError, which says what was emitted instead."""
        found = self.of(event_type)
        if len(found) != 1:
            message = f"expected one {event_type}, found {len(found)} in {self!r}"
            raise AssertionError(message)
        return found[0]

    @property
    def withdrawn(self) -> list[str]:
        """The keys that were withdrawn and not rolled back, in order; their events still count as emitted."""
        return [one.value for one in self._recorder.withdrawn if not one.undone()]

    def _all(self) -> list[EventIn]:
        return [one.value for one in self._recorder.events if not one.undone()]

    @property
    def statuses(self) -> list[StatusIn]:
        """What was published and not rolled back, in order."""
        return [one.value for one in self._recorder.statuses if not one.undone()]
