"""With OpenTelemetry, what notify does is part of the caller's trace; without it, no span is made."""

from collections.abc import Iterator
from subprocess import PIPE, run
from sys import executable

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_tracer, set_tracer_provider

import notify
from notify.domain.preferences import Person
from notify.doorbell import NoDoorbell
from notify.store.database import Database
from notify.store.directory import directory
from tests.support.harness import WorkerHarness, comment
from tests.support.smtp import ScriptedRelay

EXPORTER = InMemorySpanExporter()
ADDRESS = "ann@example.com"
SET_UP_LATE = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_tracer_provider
from notify.tracing import IsTracing
wanted = IsTracing()
before = wanted()
set_tracer_provider(TracerProvider())
soon = wanted()
while not wanted(): pass
print(before, soon, wanted())
"""
WITHOUT_THE_EXTRA = """
import sys
sys.modules["opentelemetry.sdk"] = None
from notify import tracing
print(tracing.spans(), tracing.current_traceparent())
print("opentelemetry.trace" in sys.modules)
"""


@pytest.fixture(scope="module")
def _collected() -> Iterator[None]:
    """OpenTelemetry as an application sets it up, once per process; other tests' spans are dropped."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    set_tracer_provider(provider)
    yield
    EXPORTER.shutdown()


@pytest.fixture
def spans(_collected: None) -> Iterator[InMemorySpanExporter]:
    EXPORTER.clear()
    yield EXPORTER
    EXPORTER.clear()


@pytest.fixture
def harness(database: Database) -> Iterator[tuple[WorkerHarness, ScriptedRelay]]:
    with ScriptedRelay() as relay:
        yield WorkerHarness(database, relay.url), relay


def emit(database: Database, **more: str) -> None:
    with database.begin() as connection:
        directory.put_person(connection, Person(username="ann", email=ADDRESS))
        notify.emit(connection, {**comment(reviewers=["ann"]), **more}, doorbell=NoDoorbell())


def by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


def test_an_email_is_part_of_the_trace_in_which_its_event_was_emitted(
    spans: InMemorySpanExporter, harness: tuple[WorkerHarness, ScriptedRelay]
) -> None:
    worker, relay = harness
    with get_tracer("application").start_as_current_span("a comment is stored"):
        emit(worker.database)
    worker.fan_out()
    worker.drain()

    found = by_name(spans)
    request, fan_out, email = found["a comment is stored"], found["notify.fan_out"], found["notify.deliver"]
    assert request.context is not None
    for one in (fan_out, email):
        assert one.parent is not None
        assert (one.parent.trace_id, one.parent.span_id) == (request.context.trace_id, request.context.span_id)
        assert one.start_time is not None
        assert one.end_time is not None
        assert 0 < one.end_time - one.start_time < 60e9
    assert email.attributes is not None
    assert email.attributes.items() >= {"notify.outcome": "sent", "notify.code": 250, "notify.attempt": 1}.items()
    assert f"X-Notify-Trace: {request.context.trace_id:032x}".encode() in relay.emails[0].content
    assert ADDRESS not in "".join(span.to_json() for span in found.values())


def test_an_explicit_trace_wins_over_the_current_one(
    spans: InMemorySpanExporter, harness: tuple[WorkerHarness, ScriptedRelay]
) -> None:
    worker, _ = harness
    stated = "4bf92f3577b34da6a3ce929d0e0e4736"
    with get_tracer("application").start_as_current_span("a comment is stored"):
        emit(worker.database, traceparent=f"00-{stated}-00f067aa0ba902b7-01")
    worker.fan_out()
    worker.drain()

    email = by_name(spans)["notify.deliver"]
    assert email.context is not None
    assert f"{email.context.trace_id:032x}" == stated


def test_an_event_without_a_trace_starts_one_for_each_step(
    spans: InMemorySpanExporter, harness: tuple[WorkerHarness, ScriptedRelay]
) -> None:
    worker, relay = harness
    emit(worker.database)
    worker.fan_out()
    worker.drain()

    assert [span.parent for span in spans.get_finished_spans()] == [None, None]
    assert b"X-Notify-Trace" not in relay.emails[0].content


def test_without_the_extra_no_span_is_made_and_nothing_is_imported() -> None:
    said = run([executable, "-c", WITHOUT_THE_EXTRA], check=True, stdout=PIPE, text=True).stdout
    assert said.splitlines() == ["None None", "False"]


def test_spans_are_made_within_a_second_of_setting_up_tracing() -> None:
    said = run([executable, "-c", SET_UP_LATE], check=True, stdout=PIPE, text=True, timeout=30).stdout
    assert said.split() == ["False", "False", "True"]
