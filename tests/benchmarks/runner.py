"""All measurements in turn: one that fails is a row with its error, and stops no other."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from tests.benchmarks import before
from tests.benchmarks.bench import Bench
from tests.benchmarks.measures import (
    builder,
    duplicates,
    fan_out,
    heads,
    imports,
    latency,
    memory,
    outbox,
    post_office,
    retention,
    signing,
    statuses,
    sweeps,
    webhooks,
    wire,
)
from tests.benchmarks.rows import Row

Measure = Callable[[Bench], Iterable[Row]]

MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "builder": builder.measure,
        "signing": signing.measure,
        "imports": imports.measure,
        "fan_out": fan_out.measure,
        "latency": latency.measure,
        "webhooks": webhooks.measure,
        "sweeps": sweeps.measure,
        "statuses": statuses.measure,
        "heads": heads.measure,
        "duplicates": duplicates.measure,
        "wire": wire.measure,
        "before": before.measure,
        "post_office": post_office.measure,
        "memory": memory.measure,
        "outbox": outbox.measure,
        "retention": retention.measure,
    }
)

# Takes ten minutes and 7 GB of disk at full size: measured only when named.
ON_REQUEST = frozenset({"retention"})


def measured(name: str, measure: Measure, bench: Bench) -> Iterator[Row]:
    """The rows of one measurement as they come; an error is the last row."""
    try:
        yield from measure(bench)
    except Exception as error:  # noqa: BLE001 - the report says so, and the exit code
        yield Row(what=name, error=f"{type(error).__name__}: {error}")
