"""
Turns a relay's reply into an outcome.

Decided by the reply code, the enhanced code and, where there is no standard code, the text: ``known_replies`` is the
table. The text of an exception is never used.
"""

from collections.abc import Collection
from datetime import timedelta
from re import compile as pattern

from notify.channels.email.smtp.known_replies import ABOUT_US, TOO_MUCH, Meaning, meaning
from notify.domain.outcomes import INTERNAL_ERROR, Answer, Blame, Dead, Outcome, Phase, Released, Retry, Sent

GREYLISTING = timedelta(minutes=5)
MAILBOX_FULL = timedelta(hours=1)
ATTEMPTS_AFTER_AN_ERROR = 3
ATTEMPTS_UNDER_POLICY = 3
MAX_TEXT_BYTES = 1024

REFUSAL = 5
CLOSING = 421
STORAGE_EXCEEDED = 552
LATER = frozenset({450, 451, 452})
POLICY = ("4.7.", "5.7.")

OPENING = frozenset({Phase.CONNECT, Phase.GREETING, Phase.EHLO, Phase.TLS, Phase.AUTH})

ENHANCED = pattern(r"\s*#?([245]\.\d{1,3}\.\d{1,3})(?!\S)")
ENHANCED_AT_THE_END = pattern(r"\(#([245]\.\d{1,3}\.\d{1,3})\)\s*$")
CONTROL = pattern(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\s]+")


def classify(phase: Phase, code: int, text: str, *, hide: Collection[str] = ()) -> Outcome:
    """
    The outcome of an email after this reply.

    Args:
        phase: The command that the reply answers.
        code: The reply code; one that does not fit *phase* means that the conversation is out of sync.
        text: The reply's text, lines separated by LF.
        hide: Credentials; a text that contains one is not kept.
    """
    if phase in OPENING or code == CLOSING:
        return unopened(phase, code, text, hide=hide)
    answer = as_answer(phase, code, text, hide=hide)
    match code // 100:
        case 2 if phase is Phase.FINAL_DOT:
            return Sent(answer=answer)
        case 4 | 5:
            return _refused(answer, meaning(phase, code, answer.enhanced, text))
        case _:
            return broken(phase, reason="relay_garbled", answer=answer)


def unopened(phase: Phase, code: int, text: str, *, hide: Collection[str] = ()) -> Released:
    """Why there is no session, or no longer one; no email is at fault."""
    answer = as_answer(phase, code, text, hide=hide)
    about = meaning(phase, code, answer.enhanced, text)
    if about in TOO_MUCH:
        return Released(reason=about.value, blame=Blame.THROTTLE, answer=answer)
    if code == CLOSING:
        return Released(reason="relay_closing", blame=Blame.RELAY, answer=answer)
    if phase is Phase.AUTH and (code // 100 == REFUSAL or about is Meaning.AUTHENTICATION):
        return Released(reason="auth_refused", blame=Blame.CONFIGURATION, answer=answer)
    return Released(reason="relay_refused", blame=Blame.RELAY, answer=answer)


def _refused(answer: Answer, about: Meaning | None) -> Outcome:  # noqa: PLR0911 - one line a row of the table
    """The outcome of a 4yz or 5yz reply to an email."""
    for_good = answer.code is not None and answer.code // 100 == REFUSAL
    if about in TOO_MUCH:
        return Released(reason=about.value, blame=Blame.THROTTLE, answer=answer)
    if about in ABOUT_US:
        return Released(reason=about.value, blame=Blame.CONFIGURATION, answer=answer)
    if about is Meaning.OVERSIZE:
        return Dead(reason=about.value, answer=answer)
    if for_good and answer.phase is Phase.MAIL:
        return Released(reason=Meaning.SENDER.value, blame=Blame.CONFIGURATION, answer=answer)
    if about is Meaning.MAILBOX_FULL or (answer.code == STORAGE_EXCEEDED and answer.enhanced is None):
        return Retry(reason=Meaning.MAILBOX_FULL.value, floor=MAILBOX_FULL, answer=answer)
    if not for_good:
        return _later(answer)
    if (answer.enhanced or "").startswith(POLICY):
        return suspicious(reason="policy", answer=answer)
    return Dead(reason="refused", answer=answer, undeliverable=about is Meaning.NO_SUCH_ADDRESS)


def suspicious(*, reason: str, answer: Answer) -> Retry:
    """A refusal for which our configuration may be at fault: retried a few times, compared with other emails."""
    return Retry(reason=reason, floor=GREYLISTING, max_failures=ATTEMPTS_UNDER_POLICY, suspicious=True, answer=answer)


def _later(answer: Answer) -> Retry:
    greylisted = answer.code in LATER or (answer.enhanced or "").startswith(POLICY)
    return Retry(reason="later", floor=GREYLISTING if greylisted else timedelta(0), answer=answer)


def broken(phase: Phase, *, reason: str, answer: Answer | None = None) -> Released | Retry:
    """
    The outcome when the conversation broke off: by a timeout, a drop or garbled replies.

    After the final dot the relay may have accepted the email; before it, it cannot have.
    """
    answer = answer or Answer(phase=phase, text=reason)
    if phase is Phase.FINAL_DOT:
        return Retry(reason="no_final_answer", answer=answer, ambiguous=True)
    return Released(reason=reason, blame=Blame.RELAY, answer=answer)


def unreachable(phase: Phase, *, reason: str, text: str) -> Released:
    """The relay cannot be reached: no connection, no name, no TLS."""
    return Released(reason=reason, blame=Blame.RELAY, answer=Answer(phase=phase, text=_stored_text(text, ())))


def misconfigured(phase: Phase, *, reason: str, text: str) -> Released:
    """Our settings do not work with the relay; an operator must fix them."""
    return Released(reason=reason, blame=Blame.CONFIGURATION, answer=Answer(phase=phase, text=_stored_text(text, ())))


def unsendable(*, reason: str, text: str, phase: Phase = Phase.RENDER) -> Dead:
    """The email can never be sent as it is; nothing was sent."""
    return Dead(reason=reason, answer=Answer(phase=phase, text=_stored_text(text, ())))


def internal_error(phase: Phase, *, name: str) -> Retry:
    """
    A bug; retried a few times.

    Args:
        name: The exception's type; its text may contain an address.
    """
    answer = Answer(phase=phase, text=name)
    ambiguous = phase is Phase.FINAL_DOT
    return Retry(reason=INTERNAL_ERROR, answer=answer, max_failures=ATTEMPTS_AFTER_AN_ERROR, ambiguous=ambiguous)


def as_answer(phase: Phase, code: int, text: str, *, hide: Collection[str] = ()) -> Answer:
    """The reply as it is stored: one line, at most 1 KiB, without credentials."""
    enhanced, kept = stored(code, text, hide=hide)
    return Answer(phase=phase, code=code, enhanced=enhanced, text=kept)


def stored(code: int, text: str, *, hide: Collection[str] = ()) -> tuple[str | None, str]:
    """The enhanced status code of a reply, and its text as it is stored."""
    return enhanced_code(code, text), _stored_text(text, hide)


def enhanced_code(code: int, text: str) -> str | None:
    """
    The enhanced status code; None: there is none, or it contradicts the reply code.

    Source: RFC 2034 §4 (at the start of each line; its class is the reply's first digit; some relays have it only on
    the last line); qmail writes it at the end, as ``(#5.1.1)``.
    """
    found = ENHANCED.match(text)
    if not found:
        others = map(ENHANCED.match, text.split("\n")[1:])
        found = next(filter(None, others), None) or ENHANCED_AT_THE_END.search(text)
    return found[1] if found and found[1][0] == str(code)[0] else None


def _stored_text(text: str, hide: Collection[str]) -> str:
    if hide and any(secret in text for secret in hide):
        return "(not kept, because it contains a credential)"
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()[:MAX_TEXT_BYTES]
    line = CONTROL.sub(" ", text).strip()
    return line.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")
