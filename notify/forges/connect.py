"""Makes a forge's parser, reader and writer from its settings."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, assert_never

from notify.domain.forge_ports import ForgeReader, StatusWriter, WebhookParser, Workflows
from notify.domain.forge_settings import ForgeKind, ForgeSettings
from notify.forges.gitea_webhooks import GiteaParser
from notify.forges.github_webhooks import GitHubParser

if TYPE_CHECKING:
    from notify.forges.client import ForgeClient


def parser(settings: ForgeSettings) -> WebhookParser:
    match settings.kind:
        case ForgeKind.GITHUB:
            return GitHubParser(settings)
        case ForgeKind.GITEA:
            return GiteaParser(settings)
        case _:
            assert_never(settings.kind)


@dataclass(frozen=True, slots=True)
class Connected:
    """A forge's reader, writer and workflows, which share connections and tokens. Gitea's workflows are not known."""

    reader: ForgeReader
    writer: StatusWriter
    workflows: Workflows | None = None


def connected(settings: ForgeSettings, *, clock: Callable[[], float] = monotonic) -> Connected:
    """
    What calls a forge. It connects at the first call, after any fork. Closing the reader closes the rest as well.

    Args:
        clock: Monotonic seconds, for the age of tokens and for how long annotations take.

    Raises:
        InvalidSettings: The app's private key is not a usable key.
    """
    # Imported here, because only processes that call forges need an HTTP client and cryptography.
    from notify.forges.gitea import GiteaReader  # noqa: PLC0415
    from notify.forges.gitea_statuses import GiteaStatusWriter  # noqa: PLC0415
    from notify.forges.github import GitHubReader  # noqa: PLC0415
    from notify.forges.github_statuses import GitHubStatusWriter  # noqa: PLC0415
    from notify.forges.github_workflows import GitHubWorkflows  # noqa: PLC0415

    client = _client(settings, clock=clock)
    match settings.kind:
        case ForgeKind.GITHUB:
            writer = GitHubStatusWriter(settings, client, clock=clock)
            return Connected(GitHubReader(settings, client), writer, GitHubWorkflows(client))
        case ForgeKind.GITEA:
            return Connected(GiteaReader(settings, client), GiteaStatusWriter(settings, client))
        case _:
            assert_never(settings.kind)


def _client(settings: ForgeSettings, *, clock: Callable[[], float]) -> "ForgeClient":
    from notify.forges.app_auth import AppCredentials  # noqa: PLC0415
    from notify.forges.client import Connection, FixedToken, ForgeClient  # noqa: PLC0415

    connection = Connection(settings)
    if settings.app_id is not None:
        return ForgeClient(connection, AppCredentials(settings, connection, clock=clock))
    return ForgeClient(connection, FixedToken(settings.token.value if settings.token else ""))


def reader(settings: ForgeSettings, *, clock: Callable[[], float] = monotonic) -> ForgeReader:
    """The reader alone, for processes that do not write."""
    return connected(settings, clock=clock).reader
