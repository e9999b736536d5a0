"""The forges of one process: their readers and writers, and whether each may be called now."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from notify.domain.breakers import FIRST_WAIT, LONGEST_WAIT, OPENS_AFTER, PROBE_WITHIN
from notify.domain.errors import NotifyError
from notify.domain.forge_answers import CredentialsExpired, ForgeFault, Misconfigured, RateLimited, Unavailable
from notify.domain.forge_ports import ForgeReader, StatusWriter, WebhookParser, Workflows
from notify.domain.forge_settings import ForgeSettings
from notify.store.database import Database
from notify.store.forges import pauses
from notify.store.forges.pauses import Pauses
from notify.store.operations import relays

LONGEST_WORDS = 250


class ForgeNotAsked(NotifyError):
    """The forge must not be called now: its breaker is open, or it has limited our rate."""

    def __init__(self, *, forge: str, installation: int | None = None) -> None:
        """
        Args:
            installation: The one that is paused; None: the whole forge must not be called.
        """
        super().__init__(forge=forge)
        self.installation = installation


@dataclass(frozen=True, slots=True)
class Forge:
    """
    One forge, as a process knows it. Closing the reader closes the rest as well.

    ``workflows`` is None where the forge has none that we know. ``rivals`` are the other forges with the same prefix: a
    repository of one name has the same links on all of them.
    """

    settings: ForgeSettings
    parser: WebhookParser
    reader: ForgeReader
    writer: StatusWriter
    workflows: Workflows | None = None
    rivals: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def endpoint(self) -> str:
        """The name of its breaker."""
        return f"forge {self.name}"


class Forges:
    """
    Every configured forge, by name.

    What answers mean for the breaker and for pauses is stored where all workers see it.
    """

    def __init__(self, database: Database, forges: Mapping[str, Forge]) -> None:
        self._database = database
        self.by_name = forges

    @contextmanager
    def asking(self, forge: Forge, repository: str | None = None) -> Iterator[ForgeReader]:
        """
        Call the forge within the block, outside any transaction.

        Args:
            repository: Full name of the repository that the calls are about; None: several.

        Raises:
            ForgeNotAsked: It must not be called now.
            ForgeFault: A call failed; that is stored.
        """
        with self._database.begin() as connection:
            found = self.pauses(connection)
            if forge.name in found.forges or (forge.name in found.to_be_probed and not take_probe(connection, forge)):
                raise ForgeNotAsked(forge=forge.name)
        try:
            installation = forge.settings.installation_id
            if repository is not None:
                installation = forge.writer.installation(repository)
            if (forge.name, installation) in found.installations:
                raise ForgeNotAsked(forge=forge.name, installation=installation)
            yield forge.reader
        except ForgeFault as fault:
            with self._database.begin() as connection:
                note_fault(connection, forge, fault)
            raise
        with self._database.begin() as connection:
            note_success(connection, forge, () if installation is None else (installation,))

    def pauses(self, connection: Connection) -> Pauses:
        """Which forges and installations must not be called now."""
        return pauses.load(connection, {name: forge.endpoint for name, forge in self.by_name.items()})

    def close(self) -> None:
        for one in self.by_name.values():
            one.reader.close()


def take_probe(connection: Connection, forge: Forge) -> bool:
    """Whether this worker is the one that may try a forge whose breaker is open."""
    return relays.take_probe(connection, forge.endpoint, within=PROBE_WITHIN)


def note_success(connection: Connection, forge: Forge, installations: Sequence[int] = ()) -> None:
    """Store that calls with the tokens of these installations succeeded."""
    relays.record_success(connection, forge.endpoint)
    pauses.resume(connection, forge.name, installations)


def note_fault(connection: Connection, forge: Forge, fault: ForgeFault) -> float | None:
    """
    Store what an answer means for the whole forge or installation, if anything.

    Returns for how many seconds the installation or the forge is paused because of it; None: it is not.
    """
    meaning = fault.meaning
    match meaning:
        case RateLimited():
            return pauses.pause(connection, forge.name, fault.installation, wait=meaning.wait)
        case Unavailable() | Misconfigured() | CredentialsExpired():
            # A token that is refused is one installation's; only the app's own credentials are everybody's.
            is_ours = isinstance(meaning, Misconfigured)
            relays.record_failure(
                connection,
                forge.endpoint,
                reason="configuration" if is_ours else "forge",
                error=meaning.words[:LONGEST_WORDS],
                opens_after=1 if is_ours else OPENS_AFTER,
                longest=LONGEST_WAIT,
                first=FIRST_WAIT,
            )
        case _:
            relays.record_success(connection, forge.endpoint)
    return None
