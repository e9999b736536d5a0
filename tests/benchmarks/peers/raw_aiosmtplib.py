"""
Ready-made bytes over aiosmtplib, and nothing else: ``python raw_aiosmtplib.py PORT EMAILS SESSIONS FILE``.

Connects, prints ``ready``, waits for a line, sends, and prints ``done`` with the seconds of processor time it took.
"""

import asyncio
import sys
from pathlib import Path
from time import process_time

from aiosmtplib import SMTP

SENDER = "notify@example.com"


async def send(client: SMTP, numbers: list[int], content: bytes) -> None:
    """Send emails over one session until none is left, sharing them with the other sessions."""
    while numbers:
        await client.sendmail(SENDER, [f"person-{numbers.pop()}@example.com"], content)


async def main(port: int, emails: int, sessions: int, content: bytes) -> None:
    """Get ready, send everything, print the cost."""
    clients = [SMTP(hostname="127.0.0.1", port=port, start_tls=False) for _ in range(sessions)]
    await asyncio.gather(*(client.connect() for client in clients))
    print("ready", flush=True)  # noqa: T201 - what the harness reads
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    numbers = list(range(emails))
    began = process_time()
    await asyncio.gather(*(send(client, numbers, content) for client in clients))
    print("done", process_time() - began, flush=True)  # noqa: T201 - the same
    await asyncio.gather(*(client.quit() for client in clients))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]).read_bytes()))
