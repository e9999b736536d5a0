"""A remote repository that tests write to: with git on disk, and one in memory with the source control to read it."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha1
from pathlib import Path
from shutil import which
from typing import Protocol

import pytest

from notify.domain.forge_settings import QueueSettings
from notify.domain.head_ports import Commit, NotFound, Page
from notify.domain.heads import Head, InvalidUri

STARTED_AT = 1_790_000_000
needs_git = pytest.mark.skipif(which("git") is None, reason="needs git")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One commit that a test has made."""

    sha: str
    title: str
    author: str
    email: str
    at: datetime
    parents: tuple[str, ...]


class Remote(Protocol):
    def commit(self, title: str, *parents: str, author: str = "Dana Reyes", email: str = "dana@example.com") -> str:
        """A commit with an empty tree; its sha."""

    def point(self, ref: str, sha: str) -> None:
        """Create the ref or move it."""

    def delete(self, ref: str) -> None: ...

    def ref(self, ref: str) -> str | None:
        """The commit that it points to."""


@dataclass(slots=True)
class GitRemote:
    """A bare repository on disk."""

    folder: Path
    made: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self._git("init", "--quiet", "--bare", "--initial-branch=main")

    def commit(self, title: str, *parents: str, author: str = "Dana Reyes", email: str = "dana@example.com") -> str:
        self.made += 1
        when = f"{STARTED_AT + self.made} +0000"
        people = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", author), ("EMAIL", email), ("DATE", when))
        }
        of = [word for parent in parents for word in ("-p", parent)]
        tree = self._git("mktree")
        return self._git("commit-tree", tree, *of, "-m", title, environment=people)

    def point(self, ref: str, sha: str) -> None:
        self._git("update-ref", ref, sha)

    def delete(self, ref: str) -> None:
        self._git("update-ref", "-d", ref)

    def ref(self, ref: str) -> str | None:
        return self._git("for-each-ref", "--format=%(objectname)", ref) or None

    def _git(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            ["git", "-c", "gc.auto=0", *arguments],  # noqa: S607
            cwd=self.folder,
            env={**os.environ, **(environment or {})},
            input="",
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()


@dataclass(slots=True)
class MemoryRemote:
    commits: dict[str, Made] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, title: str, *parents: str, author: str = "Dana Reyes", email: str = "dana@example.com") -> str:
        number = len(self.commits) + 1
        sha = sha1(f"{number} {title}".encode(), usedforsecurity=False).hexdigest()
        at = datetime.fromtimestamp(STARTED_AT + number, UTC)
        self.commits[sha] = Made(sha=sha, title=title, author=author, email=email, at=at, parents=parents)
        return sha

    def point(self, ref: str, sha: str) -> None:
        self.refs[ref] = sha

    def delete(self, ref: str) -> None:
        self.refs.pop(ref, None)

    def ref(self, ref: str) -> str | None:
        return self.refs.get(ref)


@dataclass(frozen=True, slots=True)
class MemorySourceControl:
    """A ``SourceControl`` of a remote in memory."""

    queue: QueueSettings
    remote: MemoryRemote

    def latest(self) -> str:
        return self._uri(self._present(self.queue.ref))

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        older, newer = self._sha(ancestor), self._sha(descendant)
        return older in set(self._reachable(self._known(newer).sha))

    def history(self, cursor: str | None = None, *, limit: int) -> Page[Commit]:
        found = list(self._walk(cursor or self._present(self.queue.ref)))
        return Page(found[:limit], found[limit].sha if len(found) > limit else None)

    def between(self, base: str | None, head: str, *, limit: int) -> Sequence[Commit]:
        newest = self._sha(head)
        if base is None:
            return [self.change_info(head)]
        oldest = set(self._reachable(self._known(self._sha(base)).sha))
        return [one for one in self._walk(newest) if one.sha not in oldest][:limit]

    def change_info(self, uri: str) -> Commit:
        return next(iter(self._walk(self._sha(uri))))

    def promote(self, uri: str) -> bool:
        target = self.queue.promotion_ref
        if target is None:
            return False
        sha = self._known(self._sha(uri)).sha
        present = set(self._reachable(self._present(self.queue.ref)))
        if sha not in present:
            return False
        promoted = self.remote.ref(target)
        if promoted is None or promoted not in present or sha not in set(self._reachable(promoted)):
            self.remote.point(target, sha)
        return True

    def _present(self, ref: str) -> str:
        sha = self.remote.ref(ref)
        if sha is None:
            raise NotFound(ref=ref)
        return sha

    def _known(self, sha: str) -> Made:
        if sha not in self.remote.commits:
            raise NotFound(commit=sha)
        return self.remote.commits[sha]

    def _reachable(self, sha: str) -> Iterator[str]:
        yield sha
        for parent in self._known(sha).parents:
            yield from self._reachable(parent)

    def _walk(self, sha: str) -> Iterator[Commit]:
        """Along first parents."""
        made: Made | None = self._known(sha)
        while made is not None:
            yield Commit(
                uri=self._uri(made.sha),
                sha=made.sha,
                title=made.title,
                author_name=made.author,
                author_email=made.email,
                committed_at=made.at,
            )
            made = self.remote.commits[made.parents[0]] if made.parents else None

    def _uri(self, sha: str) -> str:
        return Head(self.queue.remote, self.queue.ref, sha).uri

    def _sha(self, uri: str) -> str:
        head = Head.parse(uri)
        if (head.remote, head.ref) != (self.queue.remote, self.queue.ref):
            raise InvalidUri(uri=uri)
        return head.sha
