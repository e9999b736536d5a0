"""
Statuses set by httpx, and nothing else: ``python plain_httpx.py URL SHA FIRST COUNT THREADS``.

Connects, prints ``ready``, waits for a line, makes the calls, and prints ``done`` with the seconds of processor time.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from time import process_time

import httpx

HEADERS = {"Authorization": "Bearer person_alice", "Accept": "application/vnd.github+json", "User-Agent": "bench"}
DESCRIPTION = "All 4,321 tests passed in 8 minutes"
TARGET_URL = "https://ci.example/builds/4321"


def show(client: httpx.Client, url: str, context: str) -> None:
    """
    Make one call.

    Raises:
        HTTPStatusError: It failed.
    """
    content = {"state": "success", "context": context, "description": DESCRIPTION, "target_url": TARGET_URL}
    client.post(url, json=content).raise_for_status()


def main(url: str, sha: str, first: int, count: int, threads: int) -> None:
    """Get ready, make the calls, print the cost."""
    calls = f"{url}/repos/acme/app/statuses/{sha}"
    with httpx.Client(headers=HEADERS, trust_env=False) as client, ThreadPoolExecutor(threads) as pool:
        client.get(f"{url}/repos/acme/app").raise_for_status()
        print("ready", flush=True)  # noqa: T201 - what the harness reads
        sys.stdin.readline()
        began = process_time()
        list(pool.map(lambda number: show(client, calls, f"plain/{number}"), range(first, first + count)))
        print("done", process_time() - began, flush=True)  # noqa: T201 - the same


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
