"""
The embedded forge in a process of its own: ``python -m tests.benchmarks.forge_process FOLDER SHA…``.

Prints ``ready``; for each line that it reads, ``done`` with the number of statuses it was told of. Ends with its input.
"""

import sys
from pathlib import Path

from notify.embedded.forge.server import forging


def main(folder: Path, *shas: str) -> None:
    """Serve until the input ends."""
    with forging(folder, webhook_url=None) as forge:
        forge.state.add_repository("acme/app").commits.update(shas)
        print("ready", flush=True)  # noqa: T201 - what the harness reads
        for _ in sys.stdin:
            print("done", len(forge.state.statuses.calls), flush=True)  # noqa: T201 - the same


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
