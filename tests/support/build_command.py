"""
The command that validates a head in tests. What becomes of the build stands in the title of its commit.

It is green unless the title says ``broken``. ``slow`` waits for the file that the first argument names; ``cancelled``
ends the build as somebody does who cancels it, ``lost`` as a power cut does.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

SECONDS = 60


def main() -> int:
    """The exit code."""
    log = ["git", "log", "-1", "--format=%s"]
    title = subprocess.run(log, capture_output=True, text=True, check=True).stdout
    ends = monotonic() + SECONDS
    while "slow" in title and not Path(sys.argv[1]).exists() and monotonic() < ends:
        sleep(0.02)
    if "cancelled" in title:
        os.kill(os.getppid(), signal.SIGTERM)
        signal.pause()
    if "lost" in title:
        os.kill(os.getppid(), signal.SIGKILL)
    return int("broken" in title)


if __name__ == "__main__":
    sys.exit(main())
