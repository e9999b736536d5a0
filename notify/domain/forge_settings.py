"""What the forges file says: which forges there are, and which queues. Secrets never show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ForgeKind(StrEnum):
    GITHUB = "github"
    GITEA = "gitea"


class Identities(StrEnum):
    """How logins map to people: a login is a username, or only the table of identities counts."""

    LOGIN = "login"
    MAPPED = "mapped"


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret. Only its ``reference`` (``env:NAME``, ``file:/path``) may be shown."""

    reference: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntriesFolder:
    """Where a forge's entries are: a folder of Markdown files on the default branch."""

    repository: str
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeSettings:
    """
    One forge.

    Args:
        api_url: Without a slash at the end; *web_url* likewise.
        app_id: Of a GitHub App, with its *private_key* (PEM); None: *token* is used instead.
        installation_id: None: looked up for each repository.
        repositories: Full names; None: all that the app or the token may see.
        prefix: Stands before ``owner/name#number`` in links; empty: nothing does.
        bots: Logins that are programs, in lower case, besides those that the forge itself calls bots.
        error_label: Set on a pull request whose status could not be shown; None: no label.
    """

    name: str
    kind: ForgeKind
    api_url: str
    web_url: str
    webhook_secrets: tuple[Secret, ...]
    app_id: int | None = None
    private_key: Secret | None = None
    installation_id: int | None = None
    token: Secret | None = None
    repositories: tuple[str, ...] | None = None
    identities: Identities = Identities.LOGIN
    prefix: str = ""
    bots: frozenset[str] = frozenset()
    entries: EntriesFolder | None = None
    error_label: str | None = None

    def link(self, full_name: str, number: int) -> str:
        """The change list's link."""
        return f"{self.prefix}{full_name}#{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRunner:
    url: str
    token: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubActionsRunner:
    """``workflow`` is the file's name; it is started on ``ref``, which must be one that we trust."""

    workflow: str
    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRunner:
    """
    An argument vector, run without a shell.

    Args:
        output_url: A build's output is shown below it, under the build's id; None: nowhere.
    """

    command: tuple[str, ...]
    output_url: str | None = None


Runner = HttpRunner | GitHubActionsRunner | CommandRunner


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """A named repository and ref whose heads are validated. Refs are full."""

    name: str
    forge: str
    repository: str
    ref: str
    remote: str
    runner: Runner
    promotion_ref: str | None = None
    max_concurrent: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgesFile:
    """Forges and queues by name."""

    forges: Mapping[str, ForgeSettings] = field(default_factory=dict)
    queues: Mapping[str, QueueSettings] = field(default_factory=dict)

    def rivals(self, name: str) -> tuple[str, ...]:
        """The other forges with the same prefix: a repository of one name has the same links on all of them."""
        prefix = self.forges[name].prefix
        return tuple(other for other, its in self.forges.items() if other != name and its.prefix == prefix)
