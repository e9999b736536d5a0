"""
The history of a queue, from git over its command line, in one bare mirror for each remote.

Decided: the mirror holds whole history. Ancestry cannot be told from a shallow one.
Decided: the queue's own ref is walked along first parents: those were its heads, whatever was merged into them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_UN, flock
from hashlib import sha256
from pathlib import Path
from re import compile as pattern
from tempfile import mkdtemp

from notify.domain.forge_settings import QueueSettings
from notify.domain.head_ports import Commit, NotFound, Page, SourceControlUnavailable
from notify.domain.heads import SHA, Head, InvalidUri
from notify.vcs.commands import Answer, Git

GIT_SECONDS = 20.0
# The first one takes all history.
FETCH_SECONDS = 600.0
KNOWN_REFS = "refs/notify"
FORMAT = "%H%x00%an%x00%ae%x00%ct%x00%s"
YES, NO = 0, 1
MOST_COMMITS = 1_000
_SHA = pattern(SHA)
_SCP = pattern(r"(?:[^@/\s]+@)?(?P<host>[\w.-]+):(?P<path>\S+)")


class GitSourceControl:
    """
    A ``SourceControl``. Safe for many threads and processes.

    Args:
        folder: Where mirrors are kept; shared by all queues, made when missing.
        seconds: How long one command of git may take; *fetch_seconds* one that fetches history.
    """

    def __init__(
        self,
        queue: QueueSettings,
        folder: Path,
        *,
        seconds: float = GIT_SECONDS,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        self._queue, self._seconds, self._fetch_seconds = queue, seconds, fetch_seconds
        self._location = location_of(queue.remote)
        self._mirror = folder / sha256(queue.remote.encode()).hexdigest()[:32]
        self._known = f"{KNOWN_REFS}/{sha256(queue.ref.encode()).hexdigest()[:32]}"

    def latest(self) -> str:
        return self._uri(self._remote_sha(self._queue.ref))

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        older, newer = self._sha(ancestor), self._sha(descendant)
        git = self._with(newer)
        try:
            return _contains(git, newer, older)
        except SourceControlUnavailable:
            if _has(git, older):
                raise
            return False

    def history(self, cursor: str | None = None, *, limit: int) -> Page[Commit]:
        start = cursor if cursor is not None else self._remote_sha(self._queue.ref)
        if not _SHA.fullmatch(start):
            raise NotFound(cursor=cursor)
        found = self._log(self._with(start), start, limit=limit + 1)
        more = found[limit].sha if len(found) > limit else None
        return Page(found[:limit], more)

    def between(self, base: str | None, head: str, *, limit: int) -> Sequence[Commit]:
        newest = self._sha(head)
        git = self._with(newest)
        if base is None:
            return self._log(git, newest, limit=1)
        oldest = self._sha(base)
        if not _has(git, oldest):
            raise NotFound(uri=base)
        return self._log(git, newest, f"^{oldest}", limit=limit)

    def change_info(self, uri: str) -> Commit:
        sha = self._sha(uri)
        (found,) = self._log(self._with(sha), sha, limit=1)
        return found

    def repository_with(self, uri: str) -> Path:
        """
        A bare repository on this machine that has the commit, to be read from and never written to.

        Raises:
            NotFound: There is no such commit.
        """
        return self._with(self._sha(uri)).folder

    def promote(self, uri: str) -> bool:
        target = self._queue.promotion_ref
        if target is None:
            return False
        sha = self._sha(uri)
        git = self._with(sha)
        remote = self._remote_shas(self._queue.ref, target)
        promoted = remote.get(target, "")
        if promoted == sha:
            return True
        if remote.get(self._queue.ref) != sha:
            present = self._fetched(git, self._queue.ref)
            if not _contains(git, present, sha):
                return False
            if promoted:
                self._fetch_ref(git, target)
            # Ahead of this commit on the same history: it was promoted already, and a newer one since.
            if promoted and _contains(git, promoted, sha) and _contains(git, present, promoted):
                return True
        expected = f"--force-with-lease={target}:{promoted}"
        git.run("push", "--quiet", "--no-verify", expected, "--end-of-options", self._queue.remote, f"+{sha}:{target}")
        return True

    def _with(self, sha: str) -> Git:
        """The mirror, which has this commit; fetches where it has not."""
        git = self._opened()
        if _has(git, sha):
            return git
        with suppress(NotFound):
            self._fetched(git, self._queue.ref)
        if _has(git, sha):
            return git
        # Rewritten away; many servers give a commit by its name all the same.
        self._fetch(git, f"+{sha}:{KNOWN_REFS}/commits/{sha}")
        if not _has(git, sha):
            raise NotFound(commit=sha)
        return git

    def _fetched(self, git: Git, ref: str) -> str:
        """Fetch a ref of the remote, if it exists; its name in the mirror. A remote that hangs is noticed soon."""
        self._remote_sha(ref)
        return self._fetch_ref(git, ref)

    def _fetch_ref(self, git: Git, ref: str) -> str:
        """Fetch a ref that exists; its name in the mirror."""
        known = self._known if ref == self._queue.ref else f"{self._known}-promoted"
        answer = self._fetch(git, f"+{ref}:{known}")
        if answer.status:
            raise SourceControlUnavailable(command="fetch", exit_code=answer.status, words=answer.words)
        return known

    def _fetch(self, git: Git, refspec: str) -> Answer:
        with self._alone():
            fetching = replace(git, seconds=self._fetch_seconds)
            return fetching.ask("fetch", *FETCH, "--end-of-options", self._queue.remote, refspec)

    def _remote_sha(self, ref: str) -> str:
        """The commit that a ref of the remote points to, an annotated tag seen through."""
        found = self._remote_shas(ref)
        if ref not in found:
            raise NotFound(queue=self._queue.name, ref=ref)
        return found[ref]

    def _remote_shas(self, *refs: str) -> dict[str, str]:
        """The same of those that exist."""
        patterns = [pattern for ref in refs for pattern in (ref, f"{ref}^{{}}")]
        listed = self._opened().run("ls-remote", "--quiet", "--end-of-options", self._queue.remote, *patterns)
        found = {name: sha for sha, _, name in (line.partition("\t") for line in listed.output.split("\n"))}
        return {ref: found.get(f"{ref}^{{}}", found.get(ref, "")) for ref in refs if ref in found}

    def _log(self, git: Git, *revisions: str, limit: int) -> list[Commit]:
        arguments = ("--first-parent", f"--max-count={min(limit, MOST_COMMITS)}", f"--format={FORMAT}")
        lines = git.run("log", *arguments, "--end-of-options", *revisions, "--").output.split("\n")
        return [self._commit(line) for line in lines if line]

    def _commit(self, line: str) -> Commit:
        sha, name, email, seconds, title = line.split("\0", 4)
        return Commit(
            uri=self._uri(sha),
            sha=sha,
            title=title,
            author_name=name,
            author_email=email,
            committed_at=datetime.fromtimestamp(int(seconds), UTC),
        )

    def _uri(self, sha: str) -> str:
        return Head(self._location, self._queue.ref, sha).uri

    def _sha(self, uri: str) -> str:
        head = Head.parse(uri)
        if (head.remote, head.ref) != (self._location, self._queue.ref):
            raise InvalidUri(uri=uri, queue=self._queue.name)
        return head.sha

    def _opened(self) -> Git:
        """The mirror; made by the first that asks, while the others find it whole or not at all."""
        if not self._mirror.exists():
            self._mirror.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished = Path(mkdtemp(prefix="unfinished-", dir=self._mirror.parent))
            Git(unfinished, self._seconds).run("init", "--quiet", "--bare", "--template=")
            with suppress(OSError):  # another was faster
                unfinished.rename(self._mirror)
        return Git(self._mirror, self._seconds)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One fetch into the mirror at a time, over all processes of the machine."""
        with (self._mirror / "notify.lock").open("w") as lock:
            flock(lock, LOCK_EX)
            try:
                yield
            finally:
                flock(lock, LOCK_UN)


FETCH = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--update-shallow")


def location_of(remote: str) -> str:
    """
    The remote in a URI: host and path, without the protocol and who asks.

    A folder on this machine has no host.
    """
    scheme, separator, rest = remote.partition("://")
    if separator:
        host, _, path = rest.partition("/")
        return f"{host.rpartition('@')[2]}/{path}" if scheme != "file" else f"localhost/{path.lstrip('/')}"
    if found := _SCP.fullmatch(remote):
        return f"{found['host']}/{found['path'].lstrip('/')}"
    return f"localhost/{remote.lstrip('/')}"


def _has(git: Git, sha: str) -> bool:
    return git.ask("cat-file", "-e", f"{sha}^{{commit}}").status == 0


def _contains(git: Git, descendant: str, ancestor: str) -> bool:
    return git.run("merge-base", "--is-ancestor", ancestor, descendant, accepted=(YES, NO)).status == YES
