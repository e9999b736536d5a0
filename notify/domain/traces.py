"""Which of the caller's traces an event belongs to, so that a letter can be followed back to what caused it."""

from re import compile as pattern

# Source: W3C Trace Context §3.2, version 00; an id of zeros names nothing.
SHAPE = r"^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$"
TRACEPARENT = pattern(SHAPE)


def well_formed(traceparent: str | None) -> str | None:
    """
    The value, or None where it is none.

    Source: W3C Trace Context §4.3: who cannot read the header goes on as if there were none.
    """
    return traceparent if traceparent and TRACEPARENT.fullmatch(traceparent) else None


def trace_id(traceparent: str) -> str:
    """The trace's name, which is the same in every process that it passes through."""
    return traceparent.split("-")[1]
