"""Whether two events with one key state the same, and if not, where: by short digests, so that erased words stay so."""

from collections.abc import Mapping
from hashlib import blake2b
from json import dumps

from notify.intake.schema import PARTS, EventIn

DIGEST_BYTES = 5
# Who retries may do so in another trace, and the key is what makes them the same.
NOT_COMPARED = {"key", "traceparent"}
# Lists of names whose order says nothing.
NAMES = {"cl.reviewers", "request.reviewers"}


def digests(event: EventIn) -> dict[str, str]:
    """A digest of each field that the event states, by its dotted path; what is absent or null has none."""
    stated = event.model_dump(mode="json", exclude=NOT_COMPARED, exclude_none=True)
    nested = {name: stated.pop(name) for name in ("cl", *PARTS) if name in stated}
    flat = stated | {f"{part}.{name}": value for part, fields in nested.items() for name, value in fields.items()}
    return {path: _digest(sorted(set(value)) if path in NAMES else value) for path, value in flat.items()}


def differing(known: Mapping[str, str] | None, given: Mapping[str, str]) -> tuple[str, ...]:
    """
    The fields in which an event differs from the one that is stored with its key, in alphabetical order.

    Args:
        known: None where nobody can say: it was stored before digests were, or a person was erased from it.
    """
    if known is None or known == given:
        return ()
    return tuple(sorted(path for path in known.keys() | given.keys() if known.get(path) != given.get(path)))


def _digest(value: object) -> str:
    return blake2b(dumps(value, sort_keys=True).encode(), digest_size=DIGEST_BYTES).hexdigest()
