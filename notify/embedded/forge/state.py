"""
What the embedded forge keeps: repositories, pull requests, what was said on them, and webhook deliveries.

Each action of a person changes the state and tells ``tell`` about it, as GitHub would: the name of the webhook
event, the action and what is in the payload besides the repository and the sender.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from secrets import token_hex
from threading import RLock
from typing import Any

from notify.embedded.forge.records import Comment, Pull, Repository, Review
from notify.embedded.forge.statuses import StatusLedger

BOT_SUFFIX = "[bot]"
ZERO_SHA = "0" * 40

# Told of each event: its name, the repository, who did it, and the payload.
Tell = Callable[[str, Repository, str, dict[str, Any]], None]


class Unknown(LookupError):
    """There is no such thing here."""


class ForgeState:
    """
    Everything the forge knows. Thread-safe.

    Args:
        tell: Called after each action, while nobody else can act.
        now: The clock, aware UTC.

    Attributes:
        statuses: What was shown on commits.
        changed: Called when a repository was made.
    """

    def __init__(self, *, tell: Tell | None = None, now: Callable[[], datetime] | None = None) -> None:
        self.lock = RLock()
        self.tell: Tell = tell or (lambda *_: None)
        self.clock = now or (lambda: datetime.now(UTC))
        self._numbers = count(1001)
        self.repositories: dict[str, Repository] = {}
        self.accounts: dict[str, int] = {}
        self.teams: dict[str, list[str]] = {}
        self.statuses = StatusLedger()
        self.changed: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        """To the second, as GitHub tells instants."""
        return self.clock().replace(microsecond=0)

    def add_repository(self, full_name: str) -> Repository:
        """Make a repository with one commit; the one that is there, if it is."""
        with self.lock:
            if full_name.lower() not in self.repositories:
                now = self.now()
                made = Repository(id=next(self._numbers), full_name=full_name, created_at=now, pushed_at=now)
                made.branches[made.default_branch] = token_hex(20)
                made.commits = set(made.branches.values())
                self.repositories[full_name.lower()] = made
                self.changed()
            return self.repositories[full_name.lower()]

    def repository(self, full_name: str) -> Repository:
        """
        Raises:
            Unknown: No repository has or had this name.
        """
        with self.lock:
            found = self.repositories.get(full_name.lower())
            if found is None:
                found = next((one for one in self.repositories.values() if full_name in one.former_names), None)
            if found is None:
                raise Unknown(full_name)
            return found

    def by_id(self, id_: int) -> Repository:
        """
        Raises:
            Unknown: No repository has this number.
        """
        with self.lock:
            for one in self.repositories.values():
                if one.id == id_:
                    return one
        raise Unknown(str(id_))

    def number_from(self, first: int) -> None:
        """Give numbers from here on, which nothing here has."""
        self._numbers = count(first)

    def next_id(self) -> int:
        """A number that nothing here has."""
        return next(self._numbers)

    def account_id(self, login: str) -> int:
        with self.lock:
            return self.accounts.setdefault(login.lower(), next(self._numbers))

    def rename(self, full_name: str, new_name: str, *, by: str = "admin") -> None:
        with self.lock:
            renamed = self.repository(full_name)
            del self.repositories[renamed.full_name.lower()]
            renamed.former_names.append(renamed.full_name)
            old, renamed.full_name = renamed.full_name, new_name
            self.repositories[new_name.lower()] = renamed
            changes = {"repository": {"name": {"from": old.partition("/")[2]}}}
            self.tell("repository", renamed, by, {"action": "renamed", "changes": changes})

    def push(self, full_name: str, branch: str, *, by: str, sha: str | None = None) -> str:
        """Move a branch, made when missing, to a new commit; pull requests from it follow."""
        with self.lock:
            repository = self.repository(full_name)
            before = repository.branches.get(branch, ZERO_SHA)
            after = repository.branches[branch] = sha or token_hex(20)
            repository.commits.add(after)
            repository.pushed_at = self.now()
            self.tell("push", repository, by, {"ref": f"refs/heads/{branch}", "before": before, "after": after})
            for pull in repository.pulls.values():
                if pull.head == branch and pull.fork is None and pull.state == "open":
                    pull.head_sha, pull.updated_at = after, self.now()
                    pull.commits.append(after)
                    self._on(repository, pull, by, "synchronize", before=before, after=after)
            return after

    def delete_branch(self, full_name: str, branch: str, *, by: str) -> None:
        with self.lock:
            repository = self.repository(full_name)
            before = repository.branches.pop(branch)
            repository.pushed_at = self.now()
            self.tell("push", repository, by, {"ref": f"refs/heads/{branch}", "before": before, "after": ZERO_SHA})

    def open_pull(
        self,
        full_name: str,
        *,
        by: str,
        title: str,
        body: str = "",
        head: str,
        base: str = "main",
        draft: bool = False,
        fork: str | None = None,
    ) -> Pull:
        """Open a pull request from a branch, made when missing, or from one of a fork of this name."""
        with self.lock:
            repository = self.repository(full_name)
            if fork is None and head not in repository.branches:
                self.push(full_name, head, by=by)
            head_sha = repository.branches[head] if fork is None else token_hex(20)
            number = max(repository.pulls, default=0) + 1
            pull = Pull(
                id=next(self._numbers),
                number=number,
                title=title,
                body=body,
                login=by,
                head=head,
                head_sha=head_sha,
                base=base,
                base_sha=repository.branches[base],
                draft=draft,
                created_at=self.now(),
                updated_at=self.now(),
                commits=[head_sha],
                fork=fork,
            )
            repository.pulls[number] = pull
            self._on(repository, pull, by, "opened")
            return pull

    def request_review(
        self, full_name: str, number: int, *, by: str, logins: Sequence[str] = (), teams: Sequence[str] = ()
    ) -> None:
        with self._changed(full_name, number) as (repository, pull):
            for login in logins:
                if login not in pull.reviewers:
                    pull.reviewers.append(login)
                self._on(repository, pull, by, "review_requested", requested_reviewer=self.user(login))
            for team in teams:
                if team not in pull.teams:
                    pull.teams.append(team)
                self._on(repository, pull, by, "review_requested", requested_team=self.team(repository.owner, team))

    def remove_request(self, full_name: str, number: int, *, by: str, login: str) -> None:
        with self._changed(full_name, number) as (repository, pull):
            pull.reviewers.remove(login)
            self._on(repository, pull, by, "review_request_removed", requested_reviewer=self.user(login))

    def comment(self, full_name: str, number: int, *, by: str, body: str) -> Comment:
        with self._changed(full_name, number) as (repository, pull):
            made = Comment(next(self._numbers), by, body, self.now())
            pull.comments.append(made)
            self.tell("issue_comment", repository, by, {"action": "created", "of": pull, "comment": made})
            return made

    def edit_comment(self, full_name: str, number: int, comment_id: int, *, by: str, body: str) -> None:
        with self._changed(full_name, number) as (repository, pull):
            edited = next(one for one in pull.comments if one.id == comment_id)
            changes = {"body": {"from": edited.body}}
            edited.body = body
            facts = {"action": "edited", "of": pull, "comment": edited, "changes": changes}
            self.tell("issue_comment", repository, by, facts)

    def review(
        self,
        full_name: str,
        number: int,
        *,
        by: str,
        state: str,
        body: str = "",
        comments: Sequence[Mapping[str, Any]] = (),
    ) -> Review:
        """Finish a review with its inline comments (``path``, ``line``, ``body``): several webhooks, as on GitHub."""
        with self._changed(full_name, number) as (repository, pull):
            made = Review(next(self._numbers), by, state, body, self.now(), pull.head_sha)
            pull.reviews.append(made)
            said = [
                Comment(
                    next(self._numbers),
                    by,
                    one["body"],
                    self.now(),
                    path=one["path"],
                    line=one.get("line"),
                    review_id=made.id,
                )
                for one in comments
            ]
            pull.comments += said
            if by in pull.reviewers:
                pull.reviewers.remove(by)
            self.tell("pull_request_review", repository, by, {"action": "submitted", "of": pull, "review": made})
            for one in said:
                payload = {"action": "created", "of": pull, "comment": one}
                self.tell("pull_request_review_comment", repository, by, payload)
            return made

    def edit_pull(
        self, full_name: str, number: int, *, by: str, title: str | None = None, body: str | None = None
    ) -> None:
        with self._changed(full_name, number) as (repository, pull):
            old = {"title": pull.title, "body": pull.body}
            pull.title, pull.body = title or pull.title, pull.body if body is None else body
            now = {"title": pull.title, "body": pull.body}
            changes = {name: {"from": was} for name, was in old.items() if was != now[name]}
            self._on(repository, pull, by, "edited", changes=changes)

    def add_labels(self, full_name: str, number: int, *, by: str, names: Sequence[str]) -> None:
        """Put labels on a pull request; one that the repository has is found without regard to case."""
        with self._changed(full_name, number) as (repository, pull):
            for name in names:
                known = next((one for one in repository.labels if one.lower() == name.lower()), name)
                repository.labels.setdefault(known, self.next_id())
                if known not in pull.labels:
                    pull.labels.append(known)
                    self._on(repository, pull, by, "labeled", label=known)

    def remove_label(self, full_name: str, number: int, *, by: str, name: str) -> None:
        """
        Raises:
            Unknown: The pull request does not have this label.
        """
        with self._changed(full_name, number) as (repository, pull):
            known = next((one for one in pull.labels if one.lower() == name.lower()), None)
            if known is None:
                raise Unknown(name)
            pull.labels.remove(known)
            self._on(repository, pull, by, "unlabeled", label=known)

    def make_ready(self, full_name: str, number: int, *, by: str) -> None:
        with self._changed(full_name, number) as (repository, pull):
            pull.draft = False
            self._on(repository, pull, by, "ready_for_review")

    def close(self, full_name: str, number: int, *, by: str) -> None:
        with self._changed(full_name, number) as (repository, pull):
            pull.state, pull.closed_at = "closed", self.now()
            self._on(repository, pull, by, "closed")

    def reopen(self, full_name: str, number: int, *, by: str) -> None:
        with self._changed(full_name, number) as (repository, pull):
            pull.state, pull.closed_at = "open", None
            self._on(repository, pull, by, "reopened")

    def merge(self, full_name: str, number: int, *, by: str, sha: str | None = None) -> str:
        """Merge a pull request: its commit becomes the head of the base branch."""
        with self._changed(full_name, number) as (repository, pull):
            pull.state = "closed"
            pull.merged_at = pull.closed_at = self.now()
            pull.merge_commit, pull.merged_by = sha or token_hex(20), by
            self._on(repository, pull, by, "closed")
            self.push(full_name, pull.base, by=by, sha=pull.merge_commit)
            return pull.merge_commit

    def put_file(self, full_name: str, path: str, text: str | None, *, by: str) -> None:
        """Write a file on the default branch; None removes it."""
        with self.lock:
            repository = self.repository(full_name)
            if text is None:
                repository.files.pop(path, None)
            else:
                repository.files[path] = text
            self.push(full_name, repository.default_branch, by=by)

    def user(self, login: str) -> dict[str, Any]:
        """An account, as GitHub shows it."""
        kind = "Bot" if login.endswith(BOT_SUFFIX) else "User"
        return {"login": login, "id": self.account_id(login), "node_id": f"U_{login}", "type": kind}

    def team(self, organization: str, slug: str) -> dict[str, Any]:
        key = f"{organization}/{slug}"
        return {"id": self.account_id(f"team {key}"), "node_id": f"T_{key}", "name": slug, "slug": slug}

    def _on(self, repository: Repository, pull: Pull, by: str, action: str, **more: Any) -> None:  # noqa: ANN401
        self.tell("pull_request", repository, by, {"action": action, "of": pull, **more})

    @contextmanager
    def _changed(self, full_name: str, number: int) -> Iterator[tuple[Repository, Pull]]:
        """A pull request that is changed within the block, while nobody else acts."""
        with self.lock:
            repository = self.repository(full_name)
            pull = repository.pulls.get(number)
            if pull is None:
                raise Unknown(f"{full_name}#{number}")
            pull.updated_at = self.now()
            yield repository, pull

    def pulls(self) -> Iterator[tuple[Repository, Pull]]:
        """Every pull request, the last changed first."""
        with self.lock:
            found = [(one, pull) for one in self.repositories.values() for pull in one.pulls.values()]
        return iter(sorted(found, key=lambda one: one[1].updated_at, reverse=True))
