"""
OpenTelemetry spans, if its SDK is installed (extra ``otel``) and the process was started with it set up.

*Decided*: a span is created when its work is over, so that nothing has to be carried along until then.
*Rejected*: setting up the SDK here. ``opentelemetry-instrument`` or the application does that, from ``OTEL_*``.
"""

from functools import cache
from importlib.util import find_spec
from time import monotonic, time_ns
from typing import TYPE_CHECKING

from notify.domain.events import Event

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from notify.store.outbox.outbox import AttemptOutcome

NAME = "notify"
NANOSECONDS = 1_000_000_000
ASK_AGAIN_SECONDS = 1.0


class Spans:
    """Records spans in the trace of their event, after the work is done; check ``are_wanted()`` first."""

    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer
        self.are_wanted = IsTracing()

    def add_fan_out(self, event: Event, seconds: float) -> None:
        span = _begun(self._tracer, "notify.fan_out", seconds, event.traceparent)
        if span.is_recording():
            span.set_attributes({"notify.event_id": event.id, "notify.event_type": event.type})
        span.end()

    def add_attempt(self, ending: "AttemptOutcome") -> None:
        event, update = ending.job.notifications[0].event, ending.update
        seconds = ending.took.total_seconds() if ending.took else 0.0
        span = _begun(self._tracer, "notify.deliver", seconds, event.traceparent)
        if span.is_recording():
            span.set_attributes({
                "notify.job": ending.job.claim.id,
                "notify.attempt": ending.job.claim.attempt,
                "notify.event_id": event.id,
                "notify.event_type": ending.job.event_type,
                "notify.outcome": update.outcome,
                "notify.relay": ending.relay or "",
                "notify.reason": update.reason or "",
                "notify.code": (update.answer.code if update.answer else None) or 0,
            })  # fmt: skip
        span.end()


def spans() -> Spans | None:
    """None if OpenTelemetry's SDK is not installed."""
    tracer = _tracer()
    return None if tracer is None else Spans(tracer)


def current_traceparent() -> str | None:
    """The current trace of this thread; None: there is none."""
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


class IsTracing:
    """Whether a tracer provider is set up; checked at most once a second until one is."""

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
    """A span that started this many seconds ago."""
    return tracer.start_span(name, context=_in_trace(traceparent), start_time=time_ns() - round(seconds * NANOSECONDS))


def _in_trace(traceparent: str | None) -> "Context":
    """The event's trace, as a remote parent; without one, a new trace."""
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
