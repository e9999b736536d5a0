"""The demo's second half: a merged pull request breaks a branch that a queue validates, and a push mends it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from notify.cli.demo_emails import emails_of, until, wait
from notify.domain.forge_settings import QueueSettings
from notify.domain.heads import Head
from notify.domain.queue_events import key_of
from notify.store.database import Database
from notify.store.heads import listing
from notify.vcs.commands import Git
from notify.vcs.git import GIT_SECONDS, location_of

BRANCH = "retry-the-index"
FILE = "search/index.py"
MENDED = '''"""Builds the index."""


def build(documents: list[str]) -> list[str]:
    """All words, sorted. It is done again after a fault of the disk."""
    for _ in range(3):
        try:
            return sorted({word for document in documents for word in document.split()})
        except OSError:
            continue
    return []
'''
BROKEN = MENDED.replace("split()})", "split()}")
FIX = "Close the bracket"
AUTHOR = ("-c", "user.name=Alice Meyer", "-c", "user.email=alice@example.com", "-c", "commit.gpgSign=false")

SHORT = 8


def as_person(login: str, forge_url: str) -> httpx.Client:
    """The embedded forge's API, as this person."""
    return httpx.Client(base_url=f"{forge_url}/api/v3", headers={"Authorization": f"Bearer person_{login}"})


def push_change(queue: QueueSettings) -> None:
    """Alice pushes a branch whose change does not compile."""
    _push(queue.remote, f"refs/heads/{BRANCH}", BROKEN, title="Retry the index")


@dataclass(frozen=True, slots=True)
class QueueStory:
    """
    What happens on the embedded forge's queue.

    Args:
        emails: The catcher's folder; None: there is none.
    """

    database: Database
    queue: QueueSettings
    forge_url: str
    emails: Path | None

    def merge(self, number: int) -> dict[str, Any]:
        """Bob merges a pull request; what becomes of the new head."""
        self._validated(self._branches()[self.queue.ref])
        with as_person("bob", self.forge_url) as bob:
            merged = bob.put(f"/repos/{self.queue.repository}/pulls/{number}/merge").raise_for_status().json()
        return self._head(merged["sha"])

    def mend(self) -> dict[str, Any]:
        """Alice pushes a fix; what becomes of the new head, and where the last green commit is."""
        promoted = str(self.queue.promotion_ref)
        before = self._branches().get(promoted)
        head = self._head(_push(self.queue.remote, self.queue.ref, MENDED, title=FIX))
        return {**head, "green_ref": promoted, "green_before": before, "green": self._branches()[promoted]}

    def _head(self, sha: str) -> dict[str, Any]:
        request = self._validated(sha)
        found = wait(self.database, [key_of(self.queue.name, request.id)])
        output = str(request.build_url)
        return {
            "sha": sha,
            "state": request.state,
            "output": output,
            "check": httpx.get(output).raise_for_status().text.splitlines(),
            "statuses": until(lambda: self._statuses(sha)),
            "commit": f"{self.forge_url}/{self.queue.repository}/commit/{sha}",
            "emails": emails_of(found, folder=self.emails, deferred={}),
        }

    def _validated(self, sha: str) -> listing.RequestView:
        """The request of this head, at its end."""
        uri = Head(location_of(self.queue.remote), self.queue.ref, sha).uri

        def ended() -> listing.RequestView | None:
            with self.database.begin() as connection:
                known = listing.known_heads(connection, self.queue.name, [uri]).get(uri)
                number = known.request_id if known else None
                found = listing.request(connection, self.queue.name, number) if number else None
            return found if found and found.finished_at else None

        return until(ended)

    def _statuses(self, sha: str) -> Sequence[str] | None:
        """What the commit has shown so far, the last state at its end; None: it still waits."""
        with as_person("alice", self.forge_url) as alice:
            shown = alice.get(f"/repos/{self.queue.repository}/commits/{sha}/statuses").raise_for_status().json()
        states = [one["state"] for one in reversed(shown)]
        return states if states and states[-1] != "pending" else None

    def _branches(self) -> Mapping[str, str]:
        """The commit of each branch, by its full ref."""
        with as_person("alice", self.forge_url) as alice:
            found = alice.get(f"/repos/{self.queue.repository}/branches").raise_for_status().json()
        return {f"refs/heads/{one['name']}": one["commit"]["sha"] for one in found}


def facts_of(head: Mapping[str, Any]) -> dict[str, str]:
    """What became of a head, for people."""
    verdict = "green" if head["state"] == "succeeded" else "broken"
    facts = {
        "Head": f"{head['sha'][:SHORT]} is {verdict}",
        "Check": "; ".join(head["check"]),
        "Output": head["output"],
        "Statuses": f"{', '.join(head['statuses'])} on {head['commit']}",
    }
    if "green" in head:
        before = f"from {head['green_before'][:SHORT]} " if head["green_before"] else ""
        facts["Green ref"] = f"{head['green_ref']} moved {before}to {head['green'][:SHORT]}"
    return facts


def _push(remote: str, ref: str, text: str, *, title: str) -> str:
    """Alice changes the file on top of the default branch, and pushes that to *ref*; her commit."""
    with TemporaryDirectory() as folder:
        git = Git(Path(folder), GIT_SECONDS)
        git.run("clone", "--quiet", "--template=", "--", remote, ".")
        Path(folder, FILE).write_text(text, encoding="utf-8")
        git.run(*AUTHOR, "commit", "--quiet", "--all", "--allow-empty", f"--message={title}")
        # An earlier demo has left its branch there.
        git.run("push", "--quiet", "--force", "origin", f"HEAD:{ref}")
        return git.run("rev-parse", "HEAD").output.strip()
