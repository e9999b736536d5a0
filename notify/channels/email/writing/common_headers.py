"""The headers that all readers of an email share: who did it, the thread, what it is about."""

from collections.abc import Iterable, Sequence
from re import compile as pattern

from notify.channels.email.writing.comments import strip_invisible
from notify.channels.email.writing.headers import Address, mailbox_field, refuse_unsafe, text_field, token_field
from notify.domain.events import OURSELVES
from notify.domain.grammar import trace_id
from notify.domain.jobs import EmailFacts
from notify.domain.schedule import DeferredBy
from notify.domain.threads import digest_root_id, root_id, thread_index

LONGEST_LABEL = 63
MOST_NAMES = 3
MOST_ACTORS = 20
MOST_TRACES = 20
NOT_IN_A_LABEL = pattern(r"[^a-z0-9]+")

SAME_ON_EVERY_EMAIL = (
    b"Auto-Submitted: auto-generated\r\n"
    b"X-Auto-Response-Suppress: All\r\n"
    b"Precedence: list\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
)


def common_headers(email: EmailFacts, subject: str, *, host: str, service: str, mail_from: Address) -> bytes:
    """
    The headers that are the same for every reader of *email* in one language.

    Args:
        host: Right-hand side of the thread's Message-IDs.
        service: The display name that emails come from.

    Raises:
        UnsafeHeader: A value could end its header early.
    """
    if email.digest:
        fields = _of_digest(email.digest, subject, host, service, mail_from)
    else:
        fields = _of_thread(email, subject, host, service, mail_from)
    traces = _distinct(trace_id(one.event.traceparent) for one in entries(email) if one.event.traceparent)
    return b"".join(
        (
            *fields,
            text_field("X-Notify-Event", ", ".join(event_types(email))),
            text_field("X-Notify-Trace", ", ".join(traces[:MOST_TRACES])) if traces else b"",
            SAME_ON_EVERY_EMAIL,
        )
    )


def entries(email: EmailFacts) -> Sequence[EmailFacts]:
    """One set of facts for each event in the email."""
    return email.entries or (email,)


def event_types(email: EmailFacts) -> list[str]:
    """The types of the events in the email, each once."""
    return _distinct(one.event.type for one in entries(email))


def list_id(repository: str | None, *, host: str) -> str:
    """
    The list that emails about a repository belong to, so that readers can file them.

    Source: RFC 2919 §3: dot-atom-text, in a namespace that its owner controls.
    """
    label = NOT_IN_A_LABEL.sub("-", (repository or "").lower()).strip("-")[:LONGEST_LABEL].strip("-")
    return f"{label}.notify.{host}" if label else f"notify.{host}"


def _of_thread(email: EmailFacts, subject: str, host: str, service: str, mail_from: Address) -> Iterable[bytes]:
    cl = email.change_list
    for value in (cl.link, cl.title, cl.repository, cl.first_title, cl.first_repository):
        refuse_unsafe("X-Notify-CL", value or "")
    names = _distinct(strip_invisible(one.actor.name) for one in entries(email))
    actors = ", ".join((*names[:MOST_NAMES], "…") if len(names) > MOST_NAMES else names)
    usernames = _distinct(one.actor.username for one in entries(email))[:MOST_ACTORS]
    is_cl = email.event.is_about_change_list
    root = f"<{root_id(cl.link, host=host, is_change_list=is_cl)}>"
    return (
        mailbox_field("From", f"{actors} via {service}" if usernames != [OURSELVES] else service, mail_from),
        *_thread(subject, root=root, index=thread_index(cl.link if is_cl else root)),
        token_field("List-Id", f"<{list_id(cl.repository, host=host)}>"),
        text_field("X-Notify-CL" if is_cl else "X-Notify-Topic", cl.link),
        text_field("X-Notify-Actor", ", ".join(usernames)),
    )


def _of_digest(kind: DeferredBy, subject: str, host: str, service: str, mail_from: Address) -> Iterable[bytes]:
    """All digests of one kind share a thread."""
    root = f"<{digest_root_id(kind, host=host)}>"
    return (
        mailbox_field("From", service, mail_from),
        *_thread(subject, root=root, index=thread_index(root)),
        token_field("List-Id", f"<{list_id(None, host=host)}>"),
        token_field("X-Notify-Digest", kind.value),
    )


def _thread(subject: str, *, root: str, index: str) -> Iterable[bytes]:
    """The headers that put an email into its thread; Outlook reads the last two."""
    return (
        text_field("Subject", subject),
        token_field("In-Reply-To", root),
        token_field("References", root),
        text_field("Thread-Topic", subject),
        token_field("Thread-Index", index),
    )


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
