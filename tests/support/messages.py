"""Emails as the standard library parses them."""

from email import message_from_bytes, policy
from email.message import EmailMessage


def parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.SMTP)
    assert isinstance(message, EmailMessage)
    return message


def text_of(message: EmailMessage, subtype: str = "plain") -> str:
    """The text of one part, with LF line ends."""
    part = message.get_body((subtype,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")
