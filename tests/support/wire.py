"""What the relay saw, by email: the effects that every promise is about."""

from dataclasses import dataclass
from datetime import datetime

from tests.support.smtp import ScriptedRelay


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """An email that the relay accepted; ``answered`` says whether its answer was sent."""

    message_id: str
    recipient: str
    at: datetime
    answered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTransfer:
    """A worker in DATA with an email: from the relay's 354 until the relay saw the end of it."""

    message_id: str
    connection: int
    began: datetime
    ended: datetime

    def overlaps(self, later: "DataTransfer") -> bool:
        """Whether a transfer that began no earlier began before this one was over."""
        return later.began < self.ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """The copies in order of arrival, and who was in DATA when."""

    copies: tuple[Copy, ...]
    transfers: tuple[DataTransfer, ...]


def seen_by(*relays: ScriptedRelay) -> Wire:
    """The wire log of these relays so far. A transfer that broke off before its Message-ID counts for no email."""
    copies = (
        Copy(message_id=message_id(one.content), recipient=one.recipient, at=one.at, answered=one.answered)
        for relay in relays
        for one in relay.emails
    )
    transfers = (
        DataTransfer(message_id=name, connection=one.connection, began=one.began, ended=one.ended)
        for relay in relays
        for one in relay.transfers
        if (name := message_id(one.content))
    )
    return Wire(
        copies=tuple(sorted(copies, key=lambda one: one.at)),
        transfers=tuple(sorted(transfers, key=lambda one: one.began)),
    )


def header(content: bytes, name: str) -> str:
    """The first header of this name, unfolded lines only; empty if there is none."""
    start = name.lower().encode() + b":"
    head = content.partition(b"\r\n\r\n")[0]
    found = (line for line in head.split(b"\r\n") if line.lower().startswith(start))
    return next(found, b"").partition(b":")[2].strip().decode()


def message_id(content: bytes) -> str:
    """The email's Message-ID without brackets; empty if there is none yet."""
    return header(content, "Message-ID").strip("<>")
