"""Repositories of the embedded forge whose commits are real: each is a bare repository of git on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from re import compile as pattern
from shutil import rmtree
from tempfile import TemporaryDirectory

from notify.domain.head_ports import SourceControlUnavailable
from notify.embedded.forge.records import Pull, Repository
from notify.embedded.forge.state import ForgeState
from notify.vcs.commands import Git

GIT_SECONDS = 20.0
MOST_COMMITS = 1_000
# Of the default branch, for those who read files by REST.
MOST_FILES, LARGEST_FILE = 50, 20_000
SOMEBODY = "somebody"

_LOGIN = pattern(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}")
_BRANCH = "refs/heads/"
_FORMAT = "%H%x00%an%x00%ae%x00%ct%x00%s"


class NotMergeable(Exception):
    """Git cannot merge it by itself, or somebody else pushed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitCommit:
    sha: str
    name: str
    email: str
    at: datetime
    title: str


class GitRepositories:
    """
    Makes repositories and merges, and has the forge's state follow what is pushed.

    Args:
        folder: Where the repositories are; made when missing.
    """

    def __init__(self, state: ForgeState, folder: Path) -> None:
        self._state, self._folder = state, folder
        self._files_at: dict[int, str] = {}

    def add(self, full_name: str, files: Mapping[str, str] | None = None) -> Repository:
        """
        Make a repository with one commit; the one that is there, if it is.

        Args:
            files: In its first commit; None: a README.
        """
        with self._state.lock:
            made = self._state.add_repository(full_name)
            if not made.is_git:
                self._make(made, files or {"README.md": f"# {made.name}\n"})
                # Commits that were made up before there was git are nowhere to be found.
                made.branches, made.commits, made.is_git = {}, set(), True
            self.follow(made)
            return made

    def folder(self, repository: Repository) -> Path:
        return self._folder / f"{repository.id}.git"

    def merge(self, repository: Repository, pull: Pull, *, by: str) -> str:
        """
        Merge a pull request by a commit of its own; that commit.

        Raises:
            NotMergeable: The pull request stays open.
        """
        message = f"{pull.title} (#{pull.number})"
        with self._state.lock, TemporaryDirectory(dir=self._folder) as temporary:
            clone, bare = Git(Path(temporary), GIT_SECONDS), self._git(repository)
            shared = ("--quiet", "--shared", "--template=", f"--branch={pull.base}")
            try:
                clone.run("clone", *shared, "--", str(bare.folder), ".")
                clone.run(*_as(by), "merge", "--quiet", "--no-ff", f"--message={message}", pull.head_sha)
                _take(bare, clone, pull.base)
            except SourceControlUnavailable as error:
                raise NotMergeable from error
            sha = clone.run("rev-parse", "HEAD").output.strip()
            self._state.merge(repository.full_name, pull.number, by=by, sha=sha)
            self.follow(repository)
            return sha

    def follow(self, repository: Repository) -> None:
        """Take over where the branches are by now, as after a push."""
        with self._state.lock:
            git = self._git(repository)
            present = _branches(git)
            self._read_files(repository, git, present.get(repository.default_branch))
            for branch in repository.branches.keys() - present.keys():
                self._state.delete_branch(repository.full_name, branch, by=SOMEBODY)
            for branch, sha in present.items():
                if repository.branches.get(branch) != sha:
                    self._state.push(repository.full_name, branch, by=self._pusher(repository, sha), sha=sha)
            known = git.run("rev-list", f"--max-count={MOST_COMMITS}", "--branches").output.split()
            repository.commits.update(known)
            self._state.changed()

    def log(self, repository: Repository, sha: str, *, limit: int) -> list[GitCommit]:
        """Commits along first parents, the newest first; none if the commit is nowhere to be found."""
        arguments = ("--first-parent", f"--max-count={limit}", f"--format={_FORMAT}", "--end-of-options")
        lines = self._git(repository).ask("log", *arguments, sha, "--").output.split("\n")
        return [_commit(line) for line in lines if line]

    def _make(self, repository: Repository, files: Mapping[str, str]) -> None:
        folder = self.folder(repository)
        rmtree(folder, ignore_errors=True)  # of a forge that was killed before it kept its state
        folder.mkdir(mode=0o700, parents=True)
        bare, main = self._git(repository), repository.default_branch
        bare.run("init", "--quiet", "--bare", "--template=", f"--initial-branch={main}")
        with TemporaryDirectory(dir=self._folder) as temporary:
            for name, text in files.items():
                file = Path(temporary, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            git = Git(Path(temporary), GIT_SECONDS)
            git.run("init", "--quiet", "--template=")
            git.run("add", "--all")
            git.run(*_as(repository.owner), "commit", "--quiet", "--message=Begin")
            _take(bare, git, main)

    def _git(self, repository: Repository) -> Git:
        return Git(self.folder(repository), GIT_SECONDS)

    def _pusher(self, repository: Repository, sha: str) -> str:
        """A push by git names nobody: the login in the newest commit's address is taken for who did it."""
        login = next((one.email.partition("@")[0] for one in self.log(repository, sha, limit=1)), "")
        return login if _LOGIN.fullmatch(login) else SOMEBODY

    def _read_files(self, repository: Repository, git: Git, sha: str | None) -> None:
        """Read the first files of a commit, but for large ones, unless they were read before."""
        if sha is None or self._files_at.get(repository.id) == sha:
            return
        repository.files = {}
        for line in git.run("ls-tree", "-r", "-l", "-z", sha).output.split("\0")[:MOST_FILES]:
            facts, _, path = line.partition("\t")
            _, kind, blob, size = facts.split() if path else ("", "", "", "-")
            if kind == "blob" and int(size) <= LARGEST_FILE:
                repository.files[path] = git.run("cat-file", "blob", blob).output
        self._files_at[repository.id] = sha


def _as(login: str) -> tuple[str, ...]:
    """Options by which a person commits, whatever the user of this machine has configured."""
    address = f"{login}@users.noreply.example"
    return ("-c", f"user.name={login}", "-c", f"user.email={address}", "-c", "commit.gpgSign=false")


def _take(bare: Git, git: Git, branch: str) -> None:
    """Move a branch forward to what is checked out elsewhere. A push would run hooks that its user has configured."""
    bare.run("fetch", "--quiet", "--no-write-fetch-head", str(git.folder), f"HEAD:{_BRANCH}{branch}")


def _branches(git: Git) -> dict[str, str]:
    listed = git.run("for-each-ref", "--format=%(objectname) %(refname)", _BRANCH).output.splitlines()
    return {name.removeprefix(_BRANCH): sha for sha, _, name in (line.partition(" ") for line in listed)}


def _commit(line: str) -> GitCommit:
    sha, name, email, seconds, title = line.split("\0", 4)
    return GitCommit(sha=sha, name=name, email=email, at=datetime.fromtimestamp(int(seconds), UTC), title=title)
