"""What every measure is given: where, how much, and the one drain that several rows are about."""

from functools import cached_property

from tests.benchmarks.drained import Drained, best
from tests.benchmarks.place import Place
from tests.benchmarks.scale import Scale
from tests.benchmarks.sink import sink


class Bench:
    """One run of the benchmark."""

    def __init__(self, place: Place, scale: Scale) -> None:
        self.place = place
        self.scale = scale

    @cached_property
    def near(self) -> Drained:
        """The best drain into a sink nearby that offers PIPELINING, taken once."""
        with sink(self.place.folder) as near:
            return best(self.place, near, letters=self.scale.letters, repeats=self.scale.repeats, memory=True)
