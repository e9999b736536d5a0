"""
Spans for OpenTelemetry, where its SDK is installed (the extra ``otel``) and whoever starts the process has set it up.

*Decided*: a span is made when its work is over, from what is known then: nothing is carried along meanwhile.
*Rejected*: setting up the SDK ourselves. ``opentelemetry-instrument`` and the application do, from ``OTEL_*``.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from time import monotonic, time_ns
from typing import TYPE_CHECKING

from notify.domain.events import Event

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from notify.store.outbox.outbox import Ending

NAME = "notify"
NANOSECONDS = 1_000_000_000
ASK_AGAIN_SECONDS = 1.0


class AttemptSpans:
    """Makes a span of each attempt to send an email, in the trace of its event; asked whether any ``are_wanted``."""

    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer
        self.are_wanted = Wanted()

    def add(self, ending: "Ending") -> None:
        """The span of an attempt that has ended."""
        event, settlement = ending.job.notifications[0].event, ending.settlement
        seconds = ending.took.total_seconds() if ending.took else 0.0
        span = _begun(self._tracer, "notify.deliver", seconds, event.traceparent)
        if span.is_recording():
            span.set_attributes({
                "notify.job": ending.job.claim.id,
                "notify.attempt": ending.job.claim.attempt,
                "notify.event_id": event.id,
                "notify.event_type": ending.job.event_type,
                "notify.verdict": settlement.verdict,
                "notify.relay": ending.relay or "",
                "notify.reason": settlement.reason or "",
                "notify.code": (settlement.answer.code if settlement.answer else None) or 0,
            })  # fmt: skip
        span.end()


def attempt_spans() -> AttemptSpans | None:
    """None where there can be no spans."""
    tracer = _tracer()
    return None if tracer is None else AttemptSpans(tracer)


def fanned_out() -> Callable[[Event, float], None] | None:
    """What makes a span of the fan-out of an event that took so many seconds; None where there are no spans."""
    tracer = _tracer()
    if tracer is None:
        return None
    wanted = Wanted()

    def trace(event: Event, seconds: float) -> None:
        if not wanted():
            return
        span = _begun(tracer, "notify.fan_out", seconds, event.traceparent)
        if span.is_recording():
            span.set_attributes({"notify.event_id": event.id, "notify.event_type": event.type})
        span.end()

    return trace


def current_traceparent() -> str | None:
    """The trace that this thread works in at the moment; None: in none that anybody records."""
    if _tracer() is None:
        return None
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@cache
def _tracer() -> "Tracer | None":
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        return None
    from opentelemetry.trace import get_tracer

    return get_tracer(NAME)


class Wanted:
    """Whether a tracer provider is set up; asked once a second until one is."""

    def __init__(self) -> None:
        self._is_set_up = False
        self._ask_at = 0.0

    def __call__(self) -> bool:
        if not self._is_set_up and (now := monotonic()) >= self._ask_at:
            self._is_set_up, self._ask_at = _is_set_up(), now + ASK_AGAIN_SECONDS
        return self._is_set_up


def _is_set_up() -> bool:
    from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider

    return not isinstance(get_tracer_provider(), ProxyTracerProvider)


def _begun(tracer: "Tracer", name: str, seconds: float, traceparent: str | None) -> "Span":
    """A span that began so many seconds ago."""
    return tracer.start_span(name, context=_in_trace(traceparent), start_time=time_ns() - round(seconds * NANOSECONDS))


def _in_trace(traceparent: str | None) -> "Context":
    """The caller's trace, as if its span were on another machine, which it is; without one, a trace of its own."""
    from opentelemetry.context import Context
    from opentelemetry.trace import (
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    if traceparent is None:
        return Context()
    _, trace, span, flags = traceparent.split("-")
    parent = SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(parent), Context())
