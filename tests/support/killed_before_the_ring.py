"""An application that its doorbell kills, between its commit and the ring; the arguments are URL and kind."""

import os
import signal
import sys

from tests.support.harness import comment
from tests.support.transactions import KINDS, application, event_loop


class DeadlyDoorbell:
    def ring(self, _stage: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def flush(self, *, at_most_seconds: float) -> None:
        """Nothing waits to be rung."""


def main() -> None:
    url, kind = sys.argv[1:]
    with event_loop() as loop, application(KINDS[kind], url, loop) as app:
        app.emit(comment(key="k1", reviewers=["ann"]), doorbell=DeadlyDoorbell())
        app.commit()
        signal.pause()


if __name__ == "__main__":
    main()
