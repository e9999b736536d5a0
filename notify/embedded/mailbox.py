"""The emails that the catcher has taken, one ``.eml`` file for each, and what they say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from email.utils import parseaddr
from functools import lru_cache
from html import unescape
from itertools import count
from pathlib import Path

from nh3 import clean

KEPT = 1000
SUFFIX = ".eml"
STAMP = "%Y%m%dT%H%M%S.%fZ"
LONGEST_PREVIEW = 200
UNSEEN = {"script", "style", "title"}
UNREADABLE = "This email cannot be parsed; see the raw view."


@dataclass(frozen=True, slots=True)
class Email:
    """
    An email as a person reads it.

    Attributes:
        headers: Names and decoded values, in order; the first two are the catcher's own:
            Return-Path and Delivered-To, the sender and the recipients of the envelope.
        text: Empty if there is none, as is *html*.
        preview: What a mail reader shows beside the subject: the first line of the HTML, else of the text.
        searchable: The headers, the preview and the text, in lower case.
    """

    headers: tuple[tuple[str, str], ...]
    text: str
    html: str
    preview: str
    searchable: str

    def header(self, name: str) -> str:
        """The first value under this name; empty if there is none."""
        return next((value for one, value in self.headers if one.lower() == name.lower()), "")

    @property
    def sender(self) -> str:
        """The name in From, else its address; empty if there is neither."""
        name, address = parseaddr(self.header("From"))
        return name or address


@dataclass(frozen=True, slots=True)
class CaughtEmail:
    """An email in the mailbox; a greater *id* came later."""

    id: str
    path: Path
    received_at: datetime
    email: Email


class Mailbox:
    """The emails in *folder*, which no other process may change meanwhile; the newest are kept. Not thread-safe."""

    def __init__(self, folder: Path, *, kept: int = KEPT) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.kept = kept
        self._numbers = count()
        self._keep(kept)

    def add(self, content: bytes, *, sender: str, recipients: Sequence[str]) -> str:
        """
        Write an email to disk, complete, and return its id.

        The envelope precedes it: the sender as RFC 5321 §4.4 says, the recipients as RFC 9228 says.
        """
        identifier = f"{datetime.now(UTC):{STAMP}}-{next(self._numbers):09}"
        envelope = [f"Return-Path: <{sender}>", f"Delivered-To: {', '.join(recipients)}"]
        unfinished = self.folder / f"{identifier}.unfinished"
        unfinished.write_bytes(b"".join(_header_line(one) for one in envelope) + content)
        unfinished.rename(self.folder / f"{identifier}{SUFFIX}")
        self._keep(self.kept)
        return identifier

    def newest_first(self) -> Iterator[CaughtEmail]:
        return map(_load, self._files())

    def find(self, identifier: str) -> CaughtEmail | None:
        return next((_load(file) for file in self._files() if file.stem == identifier), None)

    def clear(self) -> None:
        self._keep(0)

    def _keep(self, newest: int) -> None:
        for file in self._files()[newest:]:
            file.unlink()

    def _files(self) -> Sequence[Path]:
        """The newest first."""
        return sorted(self.folder.glob(f"*{SUFFIX}"), reverse=True)


def read(content: bytes) -> Email:
    """The email in these bytes; if they cannot be parsed, one whose text says so."""
    try:
        message = message_from_bytes(content, policy=default)
        headers = tuple((name, " ".join(str(value).split())) for name, value in message.items())
        return _email(headers, text=_body(message, "plain"), html=_body(message, "html"))
    except Exception:  # noqa: BLE001 - the library raises a dozen kinds of errors over what is no email
        return _email((), text=UNREADABLE, html="")


def _email(headers: tuple[tuple[str, str], ...], *, text: str, html: str) -> Email:
    words = unescape(clean(html, tags=set(), clean_content_tags=UNSEEN)) if html else text
    preview = next((line.strip() for line in words.splitlines() if line.strip()), "")[:LONGEST_PREVIEW]
    searchable = " ".join((*(value for _, value in headers), preview, text)).lower()
    return Email(headers=headers, text=text, html=html, preview=preview, searchable=searchable)


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body(preferencelist=(kind,))
    return part.get_content() if part else ""


@lru_cache(maxsize=KEPT)
def _load(path: Path) -> CaughtEmail:
    stamp, _, _ = path.stem.partition("-")
    received_at = datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)
    return CaughtEmail(id=path.stem, path=path, received_at=received_at, email=read(path.read_bytes()))


def _header_line(text: str) -> bytes:
    """A header line without the characters that could end it early."""
    return "".join(one if one.isprintable() else "?" for one in text).encode("utf-8", "replace") + b"\r\n"
