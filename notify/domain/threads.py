"""Headers that group emails into threads: Message-IDs, the thread's root, Outlook's index."""

from base64 import b64encode
from hashlib import sha256
from re import compile as pattern

PLAIN = pattern(r"[A-Za-z0-9_+-]{1,64}")


def _plain(text: str) -> str:
    """
    The text itself if it is short and plain, else a hash.

    A plain text contains neither a dot nor the ``=`` before a hash, so ids never collide.
    """
    return text if PLAIN.fullmatch(text) else "=" + sha256(text.encode()).hexdigest()[:24]


def _kind(is_change_list: bool) -> str:
    """A topic that is no change list has other ids than a change list of the same name."""
    return "cl" if is_change_list else "topic"


def root_id(topic: str, *, host: str, is_change_list: bool = True) -> str:
    """The Message-ID, without brackets, of the thread's root, which every email answers and which is never sent."""
    return f"{_kind(is_change_list)}.{_plain(topic)}@{host}"


def digest_root_id(kind: str, *, host: str) -> str:
    """The same for digests of one kind, which have their own thread."""
    return f"digest.{kind}@{host}"


def message_id(
    topic: str, *, event_key: str, username: str, host: str, replay: int = 0, is_change_list: bool = True
) -> str:
    """
    The Message-ID, without brackets, of one person's email about one event. Stable over retries.

    Args:
        replay: 0 for the original, else the number of the manual replay.
        is_change_list: False: the topic is something else, such as a forge.

    Source: RFC 5322 §3.6.4 (``dot-atom-text`` on both sides).
    """
    recipient = sha256(username.encode()).hexdigest()[:12]
    again = f".r{replay}" if replay else ""
    return f"{_kind(is_change_list)}.{_plain(topic)}.{_plain(event_key)}.{recipient}{again}@{host}"


def thread_index(topic: str) -> str:
    """
    Outlook's ``Thread-Index`` for a change list: 22 bytes, the same on every email.

    Source: [MS-OXOMSG] §2.2.1.3, PidTagConversationIndex: a reserved byte 0x01, five bytes of
    time, and a GUID. Here all are from the hash, so that they are the same in every process.
    """
    digest = sha256(topic.encode()).digest()
    return b64encode(b"\x01" + digest[:21]).decode("ascii")
