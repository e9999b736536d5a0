"""The forges of one process: what reads each, and whether it may be asked at this moment."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection

from notify.domain.errors import NotifyError
from notify.domain.forge_answers import CredentialsExpired, ForgeFault, Misconfigured, RateLimited, Unavailable
from notify.domain.forge_ports import ForgeReader, WebhookParser
from notify.domain.forge_settings import ForgeSettings
from notify.store.database import Database
from notify.store.forges import repositories
from notify.store.operations import relays

OPENS_AFTER = 5
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=5)
PROBE_WITHIN = timedelta(minutes=1)
LONGEST_WORDS = 250


class ForgeNotAsked(NotifyError):
    """The forge is not asked at this moment: its breaker is open, or it limits the rate."""


@dataclass(frozen=True, slots=True)
class Forge:
    """One forge, as a process knows it."""

    settings: ForgeSettings
    parser: WebhookParser
    reader: ForgeReader

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

    What a forge answers is noted where the whole fleet sees it: its breaker, and its pause.
    """

    def __init__(self, database: Database, forges: Mapping[str, Forge]) -> None:
        self._database = database
        self.by_name = forges

    @contextmanager
    def asking(self, forge: Forge) -> Iterator[ForgeReader]:
        """
        Ask the forge within the block, which holds no transaction.

        Raises:
            ForgeNotAsked: It is not to be asked now.
            ForgeFault: It did not give what was asked for; that is noted.
        """
        with self._database.begin() as connection:
            if not _may_be_asked(connection, forge):
                raise ForgeNotAsked(forge=forge.name)
        try:
            yield forge.reader
        except ForgeFault as fault:
            with self._database.begin() as connection:
                _note(connection, forge, fault)
            raise
        with self._database.begin() as connection:
            relays.record_success(connection, forge.endpoint)
            repositories.resume(connection, forge.name)

    def close(self) -> None:
        for one in self.by_name.values():
            one.reader.close()


def _may_be_asked(connection: Connection, forge: Forge) -> bool:
    if repositories.paused_for(connection, forge.name) is not None:
        return False
    breaker = relays.breaker(connection, forge.endpoint)
    return not breaker.is_open or relays.take_probe(connection, forge.endpoint, within=PROBE_WITHIN)


def _note(connection: Connection, forge: Forge, fault: ForgeFault) -> None:
    """What an answer says of the whole forge; most say only something of what was asked."""
    meaning = fault.meaning
    match meaning:
        case RateLimited():
            repositories.pause(connection, forge.name, wait=meaning.wait)
        case Unavailable() | Misconfigured() | CredentialsExpired():
            is_ours = not isinstance(meaning, Unavailable)
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
