"""Names what somebody may have meant by a name that does not exist."""

from collections.abc import Iterable
from difflib import get_close_matches

SIMILAR = 0.5


def instead_of(name: str, known: Iterable[str]) -> str:
    """The nearest known name as a question; all of them if none is near."""
    nearest = get_close_matches(name, known := sorted(known), n=1, cutoff=SIMILAR)
    return f"did you mean {nearest[0]}?" if nearest else f"known are: {', '.join(known)}"
