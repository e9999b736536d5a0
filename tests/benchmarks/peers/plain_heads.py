"""
Git, a build service and a forge, called for each head by a plain script.

``python plain_heads.py SERVICE FORGE SHAS THREADS QUEUE=REPOSITORY…``: for each queue and each commit in the file SHAS,
one call of each kind that no program can do without. Prints ``ready``, waits for a line, and prints ``done`` with the
seconds of processor time, git's included.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from subprocess import run

import httpx

MAIN, GREEN = "refs/heads/main", "refs/heads/green"
HEADERS = {"Authorization": "Bearer person_alice", "Accept": "application/vnd.github+json"}


def validate(client: httpx.Client, service: str, forge: str, queue: str, repository: Path, shas: list[str]) -> None:
    """Validate these heads of one queue, one after another, as they are pushed."""
    mirror = repository.with_suffix(".mirror")
    run(["git", "init", "--quiet", "--bare", mirror], check=True)  # noqa: S607
    green = None
    for sha in shas:
        (repository / MAIN).parent.mkdir(parents=True, exist_ok=True)
        (repository / MAIN).write_text(f"{sha}\n")
        git(mirror, "ls-remote", str(repository), MAIN)
        git(mirror, "fetch", "--quiet", "--no-tags", str(repository), f"+{MAIN}:refs/main")
        if green:
            git(mirror, "merge-base", "--is-ancestor", green, sha)
        show(client, forge, queue, sha, "pending")
        key = f"plain/{queue}/{sha}"
        begun = client.post(service, json={"queue": queue, "head": sha}, headers={"Idempotency-Key": key})
        status = client.get(f"{service}/{begun.raise_for_status().json()['id']}").raise_for_status().json()["status"]
        if status == "success":
            git(mirror, "push", "--quiet", str(repository), f"+{sha}:{GREEN}")
            green = sha
        show(client, forge, queue, sha, "success" if status == "success" else "failure")


def git(folder: Path, *arguments: str) -> None:
    run(["git", *arguments], cwd=folder, check=True, capture_output=True)  # noqa: S607


def show(client: httpx.Client, forge: str, queue: str, sha: str, state: str) -> None:
    content = {"state": state, "context": f"plain/{queue}"}
    client.post(f"{forge}/repos/acme/app/statuses/{sha}", json=content, headers=HEADERS).raise_for_status()


def spent() -> float:
    return sum(one.ru_utime + one.ru_stime for one in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))


def main(service: str, forge: str, shas: str, threads: str, *queues: str) -> None:
    """Get ready, validate, print the cost."""
    heads = Path(shas).read_text().split()
    with httpx.Client(trust_env=False) as client, ThreadPoolExecutor(int(threads)) as pool:
        client.get(f"{forge}/repos/acme/app", headers=HEADERS).raise_for_status()
        print("ready", flush=True)  # noqa: T201 - what the harness reads
        sys.stdin.readline()
        before = spent()
        named = [one.split("=", 1) for one in queues]
        list(pool.map(lambda one: validate(client, service, forge, one[0], Path(one[1]), heads), named))
        print("done", spent() - before, flush=True)  # noqa: T201 - the same


if __name__ == "__main__":
    main(*sys.argv[1:])
