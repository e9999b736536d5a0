"""Makes a forge's parser, reader and writer from its settings."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import assert_never

from notify.domain.forge_ports import ForgeReader, StatusWriter, WebhookParser
from notify.domain.forge_settings import ForgeKind, ForgeSettings
from notify.forges.gitea_webhooks import GiteaParser
from notify.forges.github_webhooks import GitHubParser


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
    """A forge's reader and writer, which share connections and tokens."""

    reader: ForgeReader
    writer: StatusWriter


def connected(settings: ForgeSettings, *, clock: Callable[[], float] = monotonic) -> Connected:
    """
    The reader and writer. They connect at the first call, after any fork. Closing the reader closes both.

    Args:
        clock: Monotonic seconds, for the age of tokens and for how long annotations take.

    Raises:
        InvalidSettings: The app's private key is not a usable key.
    """
    # Imported here, because only processes that call forges need an HTTP client and cryptography.
    from notify.forges.app_auth import AppCredentials  # noqa: PLC0415
    from notify.forges.client import Connection, FixedToken, ForgeClient  # noqa: PLC0415
    from notify.forges.gitea import GiteaReader  # noqa: PLC0415
    from notify.forges.gitea_statuses import GiteaStatusWriter  # noqa: PLC0415
    from notify.forges.github import GitHubReader  # noqa: PLC0415
    from notify.forges.github_statuses import GitHubStatusWriter  # noqa: PLC0415

    connection = Connection(settings)
    if settings.app_id is not None:
        client = ForgeClient(connection, AppCredentials(settings, connection, clock=clock))
    else:
        client = ForgeClient(connection, FixedToken(settings.token.value if settings.token else ""))
    match settings.kind:
        case ForgeKind.GITHUB:
            return Connected(GitHubReader(settings, client), GitHubStatusWriter(settings, client, clock=clock))
        case ForgeKind.GITEA:
            return Connected(GiteaReader(settings, client), GiteaStatusWriter(settings, client))
        case _:
            assert_never(settings.kind)


def reader(settings: ForgeSettings, *, clock: Callable[[], float] = monotonic) -> ForgeReader:
    """The reader alone, for processes that do not write."""
    return connected(settings, clock=clock).reader
