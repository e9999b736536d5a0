"""
One email from its facts: bytes for the relay, and the same words for people who preview it.

*Decided*: what the emails about one event have in common is written once for each language (``_Edition``) and encoded
once for each reason that somebody is told for (``_Issue``), so that one more reader costs a seal and a join.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from pathlib import Path
from re import compile as pattern

from notify.channels.email.writing.comments import unsteered
from notify.channels.email.writing.headers import (
    UnusableAddress,
    address,
    mailbox_field,
    refuse_unsafe,
    text_field,
    token_field,
    url_field,
)
from notify.channels.email.writing.message import LONGEST_VALUE, assemble, assemble_pieces, part, quoted, spliced
from notify.channels.email.writing.render import Part, Place, Rendered, Renderer
from notify.channels.languages import marked
from notify.channels.links import LETTERS, Scope, SignedLinks, encoded, fits, subject
from notify.domain.audience import Reason
from notify.domain.errors import InvalidSettings
from notify.domain.events import ChangeList, Event
from notify.domain.grammar import trace_id
from notify.domain.jobs import EmailFacts
from notify.domain.preferences import Person
from notify.domain.schedule import DeferredBy
from notify.domain.threads import digest_root_id, root_id, thread_index

EVENTS_KEPT = 256
READERS_KEPT = 4096
LOCALES_KEPT = 256
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
    Reason.PARTICIPANT: marked("you took part in %(cl)s"),
}
WHY_HELD = {
    DeferredBy.HOURLY: marked("you chose an hourly digest"),
    DeferredBy.DAILY: marked("you chose a daily digest"),
    DeferredBy.WEEKLY: marked("you chose a weekly digest"),
    DeferredBy.QUIET_HOURS: marked("it arrived in your quiet hours"),
    DeferredBy.PAUSE: marked("it arrived during your pause"),
}
LINKS = (Place.MUTE_URL, Place.PREFERENCES_URL)
PLAIN_ADDRESS = pattern(r"[A-Za-z0-9:/._~\[\]-]+")
NOT_IN_A_LABEL = pattern(r"[^a-z0-9]+")

SAME_ON_EVERY_EMAIL = (
    b"Auto-Submitted: auto-generated\r\n"
    b"X-Auto-Response-Suppress: All\r\n"
    b"Precedence: list\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Whom an email is for, as its bytes name them."""

    recipient: str
    international: bool
    to_field: bytes
    token: bytes
    preferences: bytes
    preferences_quoted: bytes


@dataclass(frozen=True, slots=True)
class _Encoded:
    """
    A message but for the links of its reader.

    Args:
        pieces: With an empty one where each link goes.
        links: Which those are: 0 mutes, 1 leads to the preferences, 2 and 3 are the same in quoted-printable.
    """

    pieces: tuple[bytes, ...]
    links: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issue:
    """
    What the emails about one event to readers of one language and reason have in common.

    Args:
        token: What the email is about, as its links say it.
        way_out: What one click stops.
        headers: Those that are the same for all.
        encoded: All that follows a reader's own headers; None: a part of it is base64.
    """

    token: bytes
    way_out: Scope
    headers: bytes
    text: Part
    html: Part
    encoded: _Encoded | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edition:
    """What the emails about one event in one language have in common, and the facts it was made of."""

    facts: tuple[Event, ChangeList, Person, str]
    rendered: Rendered
    locale: str
    headers: bytes
    issues: dict[Reason, _Issue] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Composed:
    """
    One email, written. ``content`` is all that follows DATA, before dot-stuffing.

    ``international`` means that the relay must offer SMTPUTF8 to carry it.
    """

    recipient: str
    international: bool
    content: bytes
    subject: str
    issue: _Issue = field(repr=False, compare=False)
    mute: bytes
    preferences: bytes

    @property
    def text(self) -> str:
        return self.issue.text.filled(self._links)

    @property
    def html(self) -> str:
        return self.issue.html.filled(self._links)

    @property
    def _links(self) -> Mapping[Place, str]:
        return {Place.MUTE_URL: self.mute.decode(), Place.PREFERENCES_URL: self.preferences.decode()}


class Composer:
    """
    Writes emails. Keeps what those about the latest events have in common; not for several threads.

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
        self._is_plain = PLAIN_ADDRESS.fullmatch(links.public_url) is not None
        self._renderer = Renderer(templates_dir)
        self._best = lru_cache(LOCALES_KEPT)(self._renderer.languages.best)
        self._reader = lru_cache(READERS_KEPT)(self._new_reader)
        self._editions: OrderedDict[tuple[int, str, str], _Edition] = OrderedDict()

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that emails can be written in."""
        return self._renderer.languages.known

    def compile_templates(self) -> None:
        """Compile all templates before a fork, for the processes after it."""
        self._renderer.compile()

    def compose(self, letter: EmailFacts, *, date: datetime) -> Composed:
        """
        The email as it is sent at *date* (aware UTC). The same facts make the same bytes.

        Raises:
            TemplateFailure: A template is missing or cannot be rendered.
            UnsafeHeader: A name, a title or another value could end its header early.
            UnusableAddress: The recipient's address is none.
        """
        person = letter.recipient
        reader = self._reader(person.username, person.name, letter.to_email)
        edition = self._edition(letter)
        issue = edition.issues.get(letter.reason) or self._new_issue(edition, letter)
        stop, mute = self._ways_out(letter, issue, reader)
        own_headers = (
            reader.to_field,
            _date(date.replace(microsecond=0)),
            token_field("Message-ID", f"<{letter.message_id}>"),
            url_field("List-Unsubscribe", stop.decode()),
        )
        return Composed(
            recipient=reader.recipient,
            international=reader.international,
            content=b"".join((*own_headers, *self._after_them(issue, mute, reader))),
            subject=edition.rendered.subject,
            issue=issue,
            mute=mute,
            preferences=reader.preferences,
        )

    def _ways_out(self, letter: EmailFacts, issue: _Issue, reader: _Reader) -> tuple[bytes, bytes]:
        """What one click stops, and what mutes the change list; each under a seal of its own where one is too long."""
        if fits(reader.token, issue.token):
            links = self._links.stopping(reader.token, issue.token)
            return links + LETTERS[issue.way_out], links + LETTERS[Scope.CHANGE_LIST]
        alone = {
            Scope.EVENT_TYPE: subject(letter.event.type, ""),
            Scope.CHANGE_LIST: subject("", letter.change_list.link),
            Scope.EVERYTHING: subject("", ""),
        }
        stop, mute = (
            self._links.stopping(reader.token, alone[scope]) + LETTERS[scope]
            for scope in (issue.way_out, Scope.CHANGE_LIST)
        )
        return stop, mute

    def _after_them(self, issue: _Issue, mute: bytes, reader: _Reader) -> Sequence[bytes]:
        """What follows a reader's own headers, in pieces."""
        if issue.encoded is None or max(len(mute), len(reader.preferences)) > LONGEST_VALUE:
            values = {Place.MUTE_URL: mute.decode(), Place.PREFERENCES_URL: reader.preferences.decode()}
            text, html = issue.text.filled(values), issue.html.filled(values)
            return (assemble(issue.headers, text=part(text), html=part(html)),)
        links = (mute, reader.preferences, quoted(mute), reader.preferences_quoted)
        pieces = list(issue.encoded.pieces)
        pieces[1::2] = [links[number] for number in issue.encoded.links]
        return pieces

    def _new_reader(self, username: str, name: str, email: str) -> _Reader:
        """
        Raises:
            UnsafeHeader: The name could end its header early.
            UnusableAddress: The address is none.
        """
        to, preferences = address(email), self._links.preferences(username).encode()
        return _Reader(
            recipient=to.text,
            international=to.international or self._mail_from.international,
            to_field=mailbox_field("To", name, to),
            token=encoded(username),
            preferences=preferences,
            preferences_quoted=quoted(preferences),
        )

    def _edition(self, letter: EmailFacts) -> _Edition:
        """The edition that the email is of; facts that have changed since make a new one."""
        locale = self._best(letter.recipient.locale)
        facts = (letter.event, letter.change_list, letter.actor, letter.message_id.rpartition("@")[2])
        if letter.entries or letter.digest:
            return self._new_edition(letter, locale, facts)
        key = (letter.event.id, letter.event.type, locale)
        edition = self._editions.get(key)
        if edition is None or edition.facts != facts:
            edition = self._editions[key] = self._new_edition(letter, locale, facts)
        self._editions.move_to_end(key)
        if len(self._editions) > EVENTS_KEPT:
            self._editions.popitem(last=False)
        return edition

    def _new_issue(self, edition: _Edition, letter: EmailFacts) -> _Issue:
        why = WHY_HELD[letter.digest] if letter.digest else WHY[letter.reason]
        known = {Place.REASON: self._renderer.said(why, locale=edition.locale, cl=letter.change_list.link)}
        text, html = edition.rendered.text.knowing(known), edition.rendered.html.knowing(known)
        headers = token_field("X-Notify-Reason", letter.reason.value) + edition.headers
        issue = edition.issues[letter.reason] = _Issue(
            token=subject(letter.event.type, letter.change_list.link),
            way_out=_way_out(letter),
            headers=headers,
            text=text,
            html=html,
            encoded=_encoded(headers, text, html) if self._is_plain else None,
        )
        return issue

    def _new_edition(self, letter: EmailFacts, locale: str, facts: tuple[Event, ChangeList, Person, str]) -> _Edition:
        rendered, host = self._renderer.render(letter, locale=locale), facts[-1]
        if letter.digest:
            headers = self._of_digest(letter.digest, rendered.subject, host)
        else:
            headers = self._of_thread(letter, rendered.subject, host)
        headers += text_field("X-Notify-Event", ", ".join(_event_types(letter))) + _traces(letter) + SAME_ON_EVERY_EMAIL
        return _Edition(facts=facts, rendered=rendered, locale=locale, headers=headers)

    def _of_thread(self, letter: EmailFacts, thread: str, host: str) -> bytes:
        cl, link = letter.change_list, letter.change_list.link
        for value in (link, cl.title, cl.repository, cl.first_title, cl.first_repository):
            refuse_unsafe("X-Notify-CL", value or "")
        actors = _distinct(one.actor.username for one in _entries(letter))[:MOST_ACTORS]
        return b"".join(
            (
                mailbox_field("From", f"{_actors(letter)} via {self._mail_from_name}", self._mail_from),
                _thread(thread, root=f"<{root_id(link, host=host)}>", index=thread_index(link)),
                token_field("List-Id", f"<{list_id(cl.repository, host=host)}>"),
                text_field("X-Notify-CL", link),
                text_field("X-Notify-Actor", ", ".join(actors)),
            )
        )

    def _of_digest(self, kind: DeferredBy, thread: str, host: str) -> bytes:
        """An email about several change lists stands in no thread but that of its kind."""
        root = f"<{digest_root_id(kind, host=host)}>"
        return b"".join(
            (
                mailbox_field("From", self._mail_from_name, self._mail_from),
                _thread(thread, root=root, index=thread_index(root)),
                token_field("List-Id", f"<{list_id(None, host=host)}>"),
                token_field("X-Notify-Digest", kind.value),
            )
        )


def _encoded(headers: bytes, text: Part, html: Part) -> _Encoded | None:
    """The message in pieces; None where a part would be base64."""
    in_text, in_html = spliced(text.pieces), spliced(html.pieces)
    if in_text is None or in_html is None:
        return None
    links = [
        LINKS.index(place) + 2 * encoding.is_quoted
        for rendered, encoding in ((text, in_text), (html, in_html))
        for place in rendered.places
    ]
    pieces = [b""] * (2 * len(links) + 1)
    pieces[::2] = assemble_pieces(headers, text=in_text, html=in_html)
    return _Encoded(tuple(pieces), tuple(links))


@lru_cache(2)
def _date(second: datetime) -> bytes:
    return token_field("Date", format_datetime(second))


def _way_out(letter: EmailFacts) -> Scope:
    """
    What one click stops: this kind of event, or the change list where the email tells of several kinds.

    Of a digest it is everything that is not required.
    """
    if letter.digest:
        return Scope.EVERYTHING
    return Scope.CHANGE_LIST if len(_event_types(letter)) > 1 else Scope.EVENT_TYPE


def _entries(letter: EmailFacts) -> Sequence[EmailFacts]:
    return letter.entries or (letter,)


def _event_types(letter: EmailFacts) -> list[str]:
    return _distinct(one.event.type for one in _entries(letter))


def _actors(letter: EmailFacts) -> str:
    """Who did what the email tells of: the first few by name."""
    names = _distinct(unsteered(one.actor.name) for one in _entries(letter))
    return ", ".join((*names[:MOST_NAMES], "…") if len(names) > MOST_NAMES else names)


def _thread(subject: str, *, root: str, index: str) -> bytes:
    """What puts an email into its thread, also in Outlook, which reads the last two."""
    fields = (
        text_field("Subject", subject),
        token_field("In-Reply-To", root),
        token_field("References", root),
        text_field("Thread-Topic", subject),
        token_field("Thread-Index", index),
    )
    return b"".join(fields)


def _traces(letter: EmailFacts) -> bytes:
    """The traces in which the events were emitted that the email tells of; nothing where there were none."""
    traces = _distinct(trace_id(one.event.traceparent) for one in _entries(letter) if one.event.traceparent)
    return text_field("X-Notify-Trace", ", ".join(traces[:MOST_TRACES])) if traces else b""


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def list_id(repository: str | None, *, host: str) -> str:
    """
    The list that emails about a repository belong to, so that readers can file them.

    Source: RFC 2919 §3: dot-atom-text, in a namespace that its owner controls.
    """
    label = NOT_IN_A_LABEL.sub("-", (repository or "").lower()).strip("-")[:LONGEST_LABEL].strip("-")
    return f"{label}.notify.{host}" if label else f"notify.{host}"
