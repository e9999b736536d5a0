"""The letters that one session carries in a row: packed as they are needed, each told once what became of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from notify.channels.email import replies
from notify.channels.email.session import Consignment, Parcel
from notify.domain.jobs import Letter
from notify.domain.outcomes import Outcome, Phase
from notify.domain.ports import Errand

Pack = Callable[[Letter], Parcel | Outcome]
Following = Callable[[Errand], Errand | None]
Ended = Callable[[Errand, Outcome], None]


@dataclass(frozen=True, slots=True)
class Single:
    """A letter that is sent by itself."""

    letter: Letter
    ours: Callable[[], bool]

    def still_ours(self) -> bool:
        return self.ours()


class Errands:
    """
    One row of letters.

    Args:
        pack: The letter as it goes on the wire, or why it cannot.
        following: The letter to carry after this one.
        ended: Told once of each letter what became of it.
    """

    def __init__(self, pack: Pack, *, following: Following, ended: Ended) -> None:
        self._pack = pack
        self._following = following
        self._ended = ended
        self._open: list[Errand] = []
        self._last: Errand | None = None

    def packed(self, errand: Errand | None) -> Consignment | None:
        """The letter, or the next that can be packed; what cannot be is at its end."""
        while errand is not None:
            self._last = errand
            parcel = self._pack(errand.letter)
            if isinstance(parcel, Parcel):
                self._open.append(errand)
                return Consignment(parcel, errand.still_ours, partial(self._end, errand))
            self._ended(errand, parcel)
            errand = self._following(errand)
        return None

    def next(self) -> Consignment | None:
        """The one after the last."""
        return None if self._last is None else self.packed(self._following(self._last))

    def give_up(self, phase: Phase, *, bug: str) -> None:
        """End all that are not at their end: the first was in this phase, nothing was said of the others."""
        for errand in tuple(self._open):
            self._end(errand, replies.bug(phase, name=bug))
            phase = Phase.MAIL

    def _end(self, errand: Errand, outcome: Outcome) -> None:
        self._open.remove(errand)
        self._ended(errand, outcome)
