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

from notify.domain.attempts import EmailAttempt
from notify.domain.events import Event
from notify.domain.jobs import Job
from notify.domain.settlement import Settlement
from notify.domain.statuses import JobStatus, Verdict

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from notify.delivery.journal import Notes

NAME = "notify"
NANOSECONDS = 1_000_000_000
ASK_AGAIN_SECONDS = 1.0

Traced = Callable[[Event, float], None]


class Spans:
    """A journal that also makes a span of each attempt, in the trace of its event."""

    def __init__(self, journal: "Notes", tracer: "Tracer") -> None:
        self._journal = journal
        self._tracer = tracer
        self._wanted = Wanted()

    def flush(self) -> None:
        self._journal.flush()

    def sent(self, email: EmailAttempt) -> None:
        self._journal.sent(email)
        if self._wanted():
            settlement = Settlement(verdict=Verdict.SENT, status=JobStatus.SENT, answer=email.answer)
            self._span(email.job, settlement, email.seconds, email.relay, email.letter.event.traceparent)

    def note(
        self,
        job: Job,
        settlement: Settlement,
        *,
        seconds: float | None = None,
        relay: str | None = None,
        traceparent: str | None = None,
    ) -> None:
        self._journal.note(job, settlement, seconds=seconds, relay=relay, traceparent=traceparent)
        if seconds is not None and self._wanted():
            self._span(job, settlement, seconds, relay, traceparent)

    def _span(
        self, job: Job, settlement: Settlement, seconds: float, relay: str | None, traceparent: str | None
    ) -> None:
        span = _begun(self._tracer, "notify.deliver", seconds, traceparent)
        if span.is_recording():
            answer = settlement.answer
            span.set_attributes({
                "notify.job": job.claim.id,
                "notify.attempt": job.claim.attempt,
                "notify.event_id": job.notifications[0].event.id,
                "notify.event_type": job.event_type,
                "notify.verdict": settlement.verdict,
                "notify.relay": relay or "",
                "notify.reason": settlement.reason or "",
                "notify.code": (answer.code if answer else None) or 0,
            })  # fmt: skip
        span.end()


def journal(inner: "Notes") -> "Notes":
    """The journal, with spans where there can be any."""
    tracer = _tracer()
    return inner if tracer is None else Spans(inner, tracer)


def fanned_out() -> Traced | None:
    """What makes a span of the fan-out of an event that took so many seconds; None where there are no spans."""
    tracer = _tracer()
    if tracer is None:
        return None

    wanted = Wanted()

    def note(event: Event, seconds: float) -> None:
        if not wanted():
            return
        span = _begun(tracer, "notify.fan_out", seconds, event.traceparent)
        if span.is_recording():
            span.set_attributes({"notify.event_id": event.id, "notify.event_type": event.type})
        span.end()

    return note


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
    """Whether anybody has said where spans go; asked once a second until somebody has, which may be late."""

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
