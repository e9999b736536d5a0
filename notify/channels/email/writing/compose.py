"""One letter from its facts: bytes for the relay, and the same words for people who preview it."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from pathlib import Path
from re import compile as pattern

from notify.channels.email.writing.comments import unsteered
from notify.channels.email.writing.headers import (
    Address,
    UnusableAddress,
    address,
    mailbox_field,
    refuse_unsafe,
    text_field,
    token_field,
    url_field,
)
from notify.channels.email.writing.message import Shared, assemble, finish, share
from notify.channels.email.writing.render import Place, Rendered, Renderer
from notify.channels.languages import marked
from notify.channels.links import SignedLinks
from notify.domain.audience import Reason
from notify.domain.errors import InvalidSettings
from notify.domain.events import ChangeList, Event
from notify.domain.jobs import Letter
from notify.domain.preferences import Person
from notify.domain.schedule import Hold
from notify.domain.threads import digest_root_id, root_id, thread_index
from notify.domain.traces import trace_id

EVENTS_KEPT = 256
READERS_KEPT = 4096
LONGEST_LABEL = 63
MOST_NAMES = 3
MOST_ACTORS = 20
MOST_TRACES = 20

WHY = {
    Reason.AUTHOR: marked("you wrote %(cl)s"),
    Reason.MENTIONED: marked("you are mentioned on %(cl)s"),
    Reason.REQUESTED: marked("you are asked to review %(cl)s"),
    Reason.REVIEWER: marked("you review %(cl)s"),
    Reason.SUBSCRIBER: marked("you subscribed to %(cl)s"),
    Reason.PARTICIPANT: marked("you have said something on %(cl)s"),
}
WHY_HELD = {
    Hold.HOURLY: marked("this waited for your hourly digest"),
    Hold.DAILY: marked("this waited for your daily digest"),
    Hold.WEEKLY: marked("this waited for your weekly digest"),
    Hold.QUIET_HOURS: marked("this came in your quiet hours"),
    Hold.PAUSE: marked("this came during your pause"),
}
NOT_IN_A_LABEL = pattern(r"[^a-z0-9]+")

SAME_ON_EVERY_LETTER = (
    b"Auto-Submitted: auto-generated\r\n"
    b"X-Auto-Response-Suppress: All\r\n"
    b"Precedence: list\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """
    One letter, written. ``content`` is all that follows DATA, before dot-stuffing.

    ``international`` means that the relay must offer SMTPUTF8 to carry it.
    """

    recipient: str
    international: bool
    content: bytes
    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issue:
    """What all letters about one event have in common, already encoded, and the facts it was made of."""

    facts: tuple[Event, ChangeList, Person, str]
    rendered: Rendered
    reasons: Mapping[Reason, str]
    headers: bytes
    text: Shared
    html: Shared


class Composer:
    """
    Writes letters. Keeps what the letters of the latest events share; not for several threads.

    Args:
        mail_from: The service's address, in the From of every letter.
        mail_from_name: The service's name: ``Dana via Review``.
        links: Signs the ways out of the mail.
        templates_dir: Folder whose ``email/…`` files override the built-in templates.
    """

    def __init__(
        self, *, mail_from: str, mail_from_name: str, links: SignedLinks, templates_dir: Path | None = None
    ) -> None:
        try:
            self._mail_from = address(mail_from)
        except UnusableAddress:
            raise InvalidSettings(f"NOTIFY_MAIL_FROM is {mail_from!r}: expected a bare address") from None
        self._mail_from_name = mail_from_name
        self._links = links
        self._preferences = lru_cache(READERS_KEPT)(links.preferences)
        self._renderer = Renderer(templates_dir)
        self._issues: OrderedDict[tuple[int, str, str], _Issue] = OrderedDict()

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that letters can be written in."""
        return self._renderer.languages.known

    def compose(self, letter: Letter, *, date: datetime) -> Composed:
        """
        The letter as it is sent at *date* (aware UTC). The same facts make the same bytes.

        Raises:
            TemplateFailure: A template is missing or cannot be rendered.
            UnsafeHeader: A name, a title or another value could end its header early.
            UnusableAddress: The recipient's address is none.
        """
        to, to_field = _recipient(letter.recipient.name, letter.to_email)
        issue = self._issue(letter)
        values = self._values(letter, issue)
        text, html = (part.ended(values) for part in (issue.rendered.text, issue.rendered.html))
        return Composed(
            recipient=to.text,
            international=to.international or self._mail_from.international,
            content=assemble(
                to_field + self._own_headers(letter, date) + issue.headers,
                text=finish(issue.text, text),
                html=finish(issue.html, html),
            ),
            subject=issue.rendered.subject,
            text=issue.rendered.text.beginning + text,
            html=issue.rendered.html.beginning + html,
        )

    def _issue(self, letter: Letter) -> _Issue:
        """The issue that the letter belongs to; facts that have changed since make a new one."""
        locale = self._renderer.languages.best(letter.recipient.locale)
        facts = (letter.event, letter.change_list, letter.actor, letter.message_id.rpartition("@")[2])
        if letter.digest:
            return self._new_digest(letter, letter.digest, locale, facts)
        if letter.entries:
            return self._new_issue(letter, locale, facts)
        key = (letter.event.id, letter.event.type, locale)
        issue = self._issues.get(key)
        if issue is None or issue.facts != facts:
            issue = self._issues[key] = self._new_issue(letter, locale, facts)
        self._issues.move_to_end(key)
        if len(self._issues) > EVENTS_KEPT:
            self._issues.popitem(last=False)
        return issue

    def _new_issue(self, letter: Letter, locale: str, facts: tuple[Event, ChangeList, Person, str]) -> _Issue:
        cl, link, host = letter.change_list, letter.change_list.link, facts[-1]
        stated = {"title": cl.title, "repository": cl.repository} | {
            "first title": cl.first_title,
            "first repository": cl.first_repository,
        }
        for name, value in ({"link": link} | stated).items():
            refuse_unsafe(name, value or "")
        rendered = self._renderer.render(letter, locale=locale)
        root = f"<{root_id(link, host=host)}>"
        headers = (
            mailbox_field("From", f"{_actors(letter)} via {self._mail_from_name}", self._mail_from),
            _thread(rendered.subject, root=root, index=thread_index(link)),
            token_field("List-Id", f"<{list_id(cl.repository, host=host)}>"),
            text_field("X-Notify-Event", ", ".join(_event_types(letter))),
            text_field("X-Notify-CL", link),
            text_field(
                "X-Notify-Actor", ", ".join(_distinct(one.actor.username for one in _entries(letter))[:MOST_ACTORS])
            ),
            _traces(letter),
            SAME_ON_EVERY_LETTER,
        )
        return _Issue(
            facts=facts,
            rendered=rendered,
            reasons={reason: self._renderer.said(why, locale=locale, cl=link) for reason, why in WHY.items()},
            headers=b"".join(headers),
            text=share(rendered.text.beginning, before=rendered.text.ending),
            html=share(rendered.html.beginning, before=rendered.html.ending),
        )

    def _new_digest(
        self, letter: Letter, kind: Hold, locale: str, facts: tuple[Event, ChangeList, Person, str]
    ) -> _Issue:
        """A letter about several change lists stands in no thread but that of its kind."""
        rendered, host = self._renderer.render(letter, locale=locale), facts[-1]
        root = f"<{digest_root_id(kind, host=host)}>"
        headers = (
            mailbox_field("From", self._mail_from_name, self._mail_from),
            _thread(rendered.subject, root=root, index=thread_index(root)),
            token_field("List-Id", f"<{list_id(None, host=host)}>"),
            text_field("X-Notify-Event", ", ".join(_event_types(letter))),
            token_field("X-Notify-Digest", kind.value),
            _traces(letter),
            SAME_ON_EVERY_LETTER,
        )
        why = self._renderer.said(WHY_HELD[kind], locale=locale)
        return _Issue(
            facts=facts,
            rendered=rendered,
            reasons=dict.fromkeys(Reason, why),
            headers=b"".join(headers),
            text=share(rendered.text.beginning),
            html=share(rendered.html.beginning),
        )

    def _own_headers(self, letter: Letter, date: datetime) -> bytes:
        fields = (
            _date(date.replace(microsecond=0)),
            token_field("Message-ID", f"<{letter.message_id}>"),
            self._way_out(letter),
            token_field("X-Notify-Reason", letter.reason.value),
        )
        return b"".join(fields)

    def _way_out(self, letter: Letter) -> bytes:
        """
        What one click stops: this kind of event, or the change list where the letter tells of several kinds.

        Of a digest it is everything that is not required.
        """
        username, link, event_type = letter.recipient.username, letter.change_list.link, letter.event.type
        if letter.digest:
            url = self._links.stop_everything(username)
        elif len(_event_types(letter)) > 1:
            url = self._links.mute_change_list(username, link, beside=event_type)
        else:
            url = self._links.stop_event_type(username, event_type, beside=link)
        return url_field("List-Unsubscribe", url)

    def _values(self, letter: Letter, issue: _Issue) -> Mapping[Place, str]:
        username, link = letter.recipient.username, letter.change_list.link
        return {
            Place.REASON: issue.reasons[letter.reason],
            Place.MUTE_URL: self._links.mute_change_list(username, link, beside=letter.event.type),
            Place.PREFERENCES_URL: self._preferences(username),
        }


@lru_cache(READERS_KEPT)
def _recipient(name: str, email: str) -> tuple[Address, bytes]:
    """
    Where a letter goes, and its To.

    Raises:
        UnsafeHeader: The name could end its header early.
        UnusableAddress: The address is none.
    """
    to = address(email)
    return to, mailbox_field("To", name, to)


@lru_cache(2)
def _date(second: datetime) -> bytes:
    return token_field("Date", format_datetime(second))


def _entries(letter: Letter) -> Sequence[Letter]:
    return letter.entries or (letter,)


def _event_types(letter: Letter) -> list[str]:
    return _distinct(one.event.type for one in _entries(letter))


def _actors(letter: Letter) -> str:
    """Who did what the letter tells of: the first few by name."""
    names = _distinct(unsteered(one.actor.name) for one in _entries(letter))
    return ", ".join((*names[:MOST_NAMES], "…") if len(names) > MOST_NAMES else names)


def _thread(subject: str, *, root: str, index: str) -> bytes:
    """What puts a letter into its thread, also in Outlook, which reads the last two."""
    fields = (
        text_field("Subject", subject),
        token_field("In-Reply-To", root),
        token_field("References", root),
        text_field("Thread-Topic", subject),
        token_field("Thread-Index", index),
    )
    return b"".join(fields)


def _traces(letter: Letter) -> bytes:
    """The traces in which the events were emitted that the letter tells of; nothing where there were none."""
    traces = _distinct(trace_id(one.event.traceparent) for one in _entries(letter) if one.event.traceparent)
    return text_field("X-Notify-Trace", ", ".join(traces[:MOST_TRACES])) if traces else b""


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def list_id(repository: str | None, *, host: str) -> str:
    """
    The list that letters about a repository belong to, so that readers can file them.

    Source: RFC 2919 §3: dot-atom-text, in a namespace that its owner controls.
    """
    label = NOT_IN_A_LABEL.sub("-", (repository or "").lower()).strip("-")[:LONGEST_LABEL].strip("-")
    return f"{label}.notify.{host}" if label else f"notify.{host}"
