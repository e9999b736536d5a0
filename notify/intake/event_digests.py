"""Compares events with the same key by short digests of their fields, so that erased text need not be kept."""

from collections.abc import Mapping
from hashlib import blake2b
from json import dumps

from notify.intake.schema import PAYLOAD_OBJECTS, EventIn

DIGEST_BYTES = 5
# The key is equal anyway, and a retry may belong to another trace.
NOT_COMPARED = {"key", "traceparent"}
# Lists whose order has no meaning.
UNORDERED = {"cl.reviewers", "request.reviewers"}


def digests(event: EventIn) -> dict[str, str]:
    """A digest of each field, by its dotted path; absent and null fields have none."""
    stated = event.model_dump(mode="json", exclude=NOT_COMPARED, exclude_none=True)
    nested = {name: stated.pop(name) for name in ("cl", *PAYLOAD_OBJECTS) if name in stated}
    flat = stated | {f"{parent}.{name}": value for parent, fields in nested.items() for name, value in fields.items()}
    return {path: _digest(sorted(set(value)) if path in UNORDERED else value) for path, value in flat.items()}


def differing_fields(known: Mapping[str, str] | None, given: Mapping[str, str]) -> tuple[str, ...]:
    """
    The fields in which an event differs from the stored one, in alphabetical order.

    Args:
        known: None if unknown, because the stored event is older than digests or a person was erased from it.
    """
    if known is None or known == given:
        return ()
    return tuple(sorted(path for path in known.keys() | given.keys() if known.get(path) != given.get(path)))


def _digest(value: object) -> str:
    return blake2b(dumps(value, sort_keys=True).encode(), digest_size=DIGEST_BYTES).hexdigest()
