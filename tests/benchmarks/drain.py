"""
Enqueue and drain in two steps, for a harness: ``python -m tests.benchmarks.drain enqueue N``, then ``… drain``.

Works on NOTIFY_DATABASE_URL, NOTIFY_BROKER_URL and NOTIFY_SMTP_URL. Each step migrates, starts up, prints ``ready``,
waits for a line on standard input, does its work and prints ``done``. Exit code 1 with the reason
on standard error when it cannot.
"""

import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])  # otherwise it is this folder, when the file is run by its path
    sys.exit(import_module("tests.benchmarks.steps").main())
