"""What a caught letter says, read so that no sequence of bytes can stop the reader."""

from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from email.utils import parseaddr

UNREADABLE = "This letter cannot be taken apart; see the raw view."


@dataclass(frozen=True, slots=True)
class Letter:
    """
    A letter as a person reads it.

    Attributes:
        headers: Names and decoded values, in the letter's order; the first two are the catcher's own:
            Return-Path and Delivered-To, the sender and the recipients of the envelope.
        text: The text; empty if there is none.
        html: The HTML; empty if there is none.
    """

    headers: tuple[tuple[str, str], ...]
    text: str
    html: str

    def header(self, name: str) -> str:
        """The first value under this name; empty if there is none."""
        return next((value for one, value in self.headers if one.lower() == name.lower()), "")

    @property
    def writer(self) -> str:
        """The name in From, else its address; empty if there is neither."""
        name, address = parseaddr(self.header("From"))
        return name or address


def read(content: bytes) -> Letter:
    """The letter in these bytes; of bytes that are none, a word that they are none."""
    try:
        message = message_from_bytes(content, policy=default)
        headers = tuple((name, " ".join(str(value).split())) for name, value in message.items())
        return Letter(headers=headers, text=_body(message, "plain"), html=_body(message, "html"))
    except Exception:  # noqa: BLE001 - the library raises a dozen kinds of errors over what is no email
        return Letter(headers=(), text=UNREADABLE, html="")


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body(preferencelist=(kind,))
    return part.get_content() if part else ""
