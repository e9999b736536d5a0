"""How long we wait for a relay, and how large a message it takes."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from re import compile as pattern

from notify.channels.email.smtp import replies
from notify.domain.outcomes import Blame, Dead, Outcome, Phase, Released

# What the sample emails of every event type stay below, signed twice and whatever the language.
ORDINARY_BYTES = 16_384
SYSTEM_LIMIT = "5.3.4"
SIZE = pattern(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """
    How long to wait for the relay.

    Source: RFC 5321 §4.5.3.2, but for ``connect`` and ``goodbye`` (QUIT, RSET), where waiting
    longer helps nobody.
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
        """How long the relay may take to answer."""
        return {Phase.DATA: self.data, Phase.FINAL_DOT: self.final_dot}.get(phase, self.command)


def size_limit(extensions: Mapping[str, str]) -> int | None:
    """
    The limit that EHLO announced, in bytes; None where there is none.

    Source: RFC 1870 §4: up to twenty digits; no number, or 0, states no limit.
    """
    stated = extensions.get("size", "").strip()
    return (int(stated) or None) if SIZE.fullmatch(stated) else None


def too_small(limit: int) -> Released:
    """
    Why there is no session with a relay that would refuse ordinary emails for their size.

    Decided: an email of 200 KB that a relay finds too large ends as dead; it is about that email. A relay that finds
    an email of 5 KB too large would refuse all of them, one by one: that is its configuration.
    """
    text = f"it takes messages of up to {limit} bytes, and an ordinary email has up to {ORDINARY_BYTES}"
    return replies.misconfigured(Phase.EHLO, reason="size_limit", text=text)


def blamed_for_size(outcome: Outcome, size: int) -> Outcome:
    """
    The same outcome, unless the relay refused an ordinary email for its size.

    Before it knew whom the email was for, that is about us; afterwards it may be the limit of another system behind it,
    or of one mailbox (5.2.3).
    """
    match outcome:
        case Dead(reason="oversize", answer=answer) if size <= ORDINARY_BYTES:
            if answer.phase is Phase.MAIL:
                return Released(reason="oversize", blame=Blame.CONFIGURATION, answer=answer)
            if answer.enhanced == SYSTEM_LIMIT:
                return replies.suspicious(reason="oversize", answer=answer)
    return outcome
