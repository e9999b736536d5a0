"""Timeouts for a relay, and its limit on the size of messages."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from re import compile as pattern

from notify.channels.email.smtp import replies
from notify.domain.outcomes import Blame, Dead, Outcome, Phase, Released

# Sample emails of every event type are smaller than this, in any language and signed twice.
ORDINARY_BYTES = 16_384
SYSTEM_LIMIT = "5.3.4"
SIZE = pattern(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """
    How long to wait for the relay.

    Source: RFC 5321 §4.5.3.2, except ``connect`` and ``goodbye`` (QUIT, RSET), where waiting longer is pointless.
    """

    connect: timedelta = timedelta(seconds=30)
    greeting: timedelta = timedelta(minutes=5)
    command: timedelta = timedelta(minutes=5)
    data: timedelta = timedelta(minutes=2)
    block: timedelta = timedelta(minutes=3)
    final_dot: timedelta = timedelta(minutes=10)
    goodbye: timedelta = timedelta(seconds=5)

    @classmethod
    def all(cls, limit: timedelta | None) -> "Timeouts":
        """One limit for every wait; None: those of the RFC."""
        return cls() if limit is None else cls(**{one.name: limit for one in fields(cls)})

    def reply_to(self, phase: Phase) -> timedelta:
        """How long the relay may take to reply."""
        return {Phase.DATA: self.data, Phase.FINAL_DOT: self.final_dot}.get(phase, self.command)


def size_limit(extensions: Mapping[str, str]) -> int | None:
    """
    The announced limit in bytes; None: there is none.

    Source: RFC 1870 §4: up to twenty digits; no number, or 0, means no limit.
    """
    stated = extensions.get("size", "").strip()
    return (int(stated) or None) if SIZE.fullmatch(stated) else None


def too_small(limit: int) -> Released:
    """
    The outcome for a relay that would refuse ordinary emails for their size.

    Decided: an email of 200 KB that is too large for the relay is dead. A relay for which 5 KB is too large would
    refuse every email, which is a matter of configuration.
    """
    text = f"it accepts messages of up to {limit} bytes, but an ordinary email has up to {ORDINARY_BYTES}"
    return replies.misconfigured(Phase.EHLO, reason="size_limit", text=text)


def blamed_for_size(outcome: Outcome, size: int) -> Outcome:
    """
    The same outcome, unless the relay refused an ordinary email for its size.

    At MAIL, before the recipient is known, that is configuration; later it may be the limit of another system or of
    one mailbox (5.2.3).
    """
    match outcome:
        case Dead(reason="oversize", answer=answer) if size <= ORDINARY_BYTES:
            if answer.phase is Phase.MAIL:
                return Released(reason="oversize", blame=Blame.CONFIGURATION, answer=answer)
            if answer.enhanced == SYSTEM_LIMIT:
                return replies.suspicious(reason="oversize", answer=answer)
    return outcome
