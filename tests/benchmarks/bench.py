"""What every measurement gets: servers, sizes, and the one drain that several rows are about."""

from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

from tests.benchmarks.benchmark_servers import BenchmarkServers
from tests.benchmarks.drained import Drained, drained
from tests.benchmarks.peers.senders import raw_rate, source_rate
from tests.benchmarks.scale import Scale
from tests.benchmarks.sink import sink


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """
    The best drain of a few, and the best rates of the bare senders, in emails a second.

    ``source`` is null where ``smtp-source`` is not installed; ``sink`` names the sink that took the emails.
    """

    ours: Drained
    raw: float
    source: float | None
    sink: str


class Bench:
    """One run of the benchmark."""

    def __init__(self, servers: BenchmarkServers, scale: Scale) -> None:
        self.servers = servers
        self.scale = scale

    @cached_property
    def near(self) -> Near:
        """Drains into a sink that offers PIPELINING, once; alternating, as a slow machine slows all of them."""
        servers, emails = self.servers, self.scale.emails
        with sink(servers.folder) as near:
            turns = [
                (
                    drained(servers, near, emails=emails, memory=True),
                    raw_rate(servers.folder, near, emails=emails),
                    source_rate(near, emails=emails),
                )
                for _ in range(self.scale.repeats)
            ]
        drains, raw, source = zip(*turns, strict=True)
        fastest = max((rate for rate in source if rate is not None), default=None)
        return Near(ours=max(drains, key=attrgetter("rate")), raw=max(raw), source=fastest, sink=near.kind)
