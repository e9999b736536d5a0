"""
Composes one email from its facts: bytes for the relay, and the same text for previews.

*Decided*: what the emails about one event have in common is written once for each language (``_PerLanguage``) and
encoded once for each reason (``_PerReason``), so that one more reader costs a seal and a join.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from pathlib import Path
from re import compile as pattern

from notify.channels.email.writing.common_headers import common_headers, event_types
from notify.channels.email.writing.headers import address, mailbox_field, stated_address, token_field, url_field
from notify.channels.email.writing.message import LONGEST_VALUE, assemble, assemble_pieces, part, quoted, spliced
from notify.channels.email.writing.render import Placeholder, Rendered, RenderedPart, Renderer
from notify.channels.languages import marked
from notify.channels.links import SUFFIXES, Scope, SignedLinks, encoded, subject
from notify.domain.audience import Reason
from notify.domain.events import HEAD_BROKEN, HEAD_RECOVERED, ChangeList, Event, topic_name
from notify.domain.jobs import EmailFacts
from notify.domain.preferences import Person
from notify.domain.schedule import DeferredBy

EVENTS_KEPT = 64
RECIPIENTS_KEPT = 1024
LOCALES_KEPT = 256

WHY = {
    Reason.AUTHOR: marked("you wrote %(cl)s"),
    Reason.MENTIONED: marked("you were mentioned on %(cl)s"),
    Reason.REQUESTED: marked("you were asked to review %(cl)s"),
    Reason.REVIEWER: marked("you review %(cl)s"),
    Reason.OWNER: marked("you own what %(cl)s changes"),
    Reason.SUBSCRIBER: marked("you subscribed to %(cl)s"),
    Reason.PARTICIPANT: marked("you took part in %(cl)s"),
    Reason.OPERATOR: marked("you are an operator of notify"),
}
# To an author a queue is something else than a change list.
WHY_OF_TYPE = {
    HEAD_BROKEN: {Reason.AUTHOR: marked("a change of yours is in it")},
    HEAD_RECOVERED: {Reason.AUTHOR: marked("you were told that %(cl)s was broken")},
}
WHY_A_DIGEST = {
    DeferredBy.HOURLY: marked("you chose an hourly digest"),
    DeferredBy.DAILY: marked("you chose a daily digest"),
    DeferredBy.WEEKLY: marked("you chose a weekly digest"),
    DeferredBy.QUIET_HOURS: marked("your quiet hours are over"),
    DeferredBy.PAUSE: marked("your pause is over"),
}


def _why(email: EmailFacts) -> str:
    return WHY_OF_TYPE.get(email.event.type, {}).get(email.reason) or WHY[email.reason]


LINKS = (Placeholder.MUTE_URL, Placeholder.PREFERENCES_URL)
PLAIN_ADDRESS = pattern(r"[A-Za-z0-9:/._~\[\]-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipient:
    """The recipient, as the bytes of the email name them."""

    address: str
    international: bool
    to_field: bytes
    token: bytes
    preferences: bytes
    preferences_quoted: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _PerReason:
    """
    The shared part of all emails about one event to readers with one language and reason.

    Args:
        token: What the email is about, as its links say it.
        one_click: What one click stops.
        pieces: All that follows a reader's own headers, with an empty piece where each link goes; None: a part of it
            is base64.
        links: Which those are: 0 mutes, 1 leads to the preferences, 2 and 3 are the same in quoted-printable.
    """

    token: bytes
    one_click: Scope
    headers: bytes
    text: RenderedPart
    html: RenderedPart
    pieces: Sequence[bytes] | None
    links: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _PerLanguage:
    """The shared part of all emails about one event in one language, and the facts it was rendered from."""

    facts: tuple[Event, ChangeList, Person, str]
    rendered: Rendered
    locale: str
    headers: bytes
    by_reason: dict[Reason, _PerReason] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Composed:
    """
    One composed email. ``content`` is everything after DATA, before dot-stuffing.

    ``international`` means that the relay must offer SMTPUTF8 to carry it.
    """

    recipient: str
    international: bool
    content: bytes
    subject: str
    shared: _PerReason = field(repr=False, compare=False)
    mute: bytes
    preferences: bytes

    @property
    def text(self) -> str:
        return self.shared.text.filled(_values(self.mute, self.preferences))

    @property
    def html(self) -> str:
        return self.shared.html.filled(_values(self.mute, self.preferences))


class Composer:
    """
    Composes emails, and caches the shared part of those about the latest events. Not thread-safe.

    Args:
        mail_from: The service's address, in the From of every email.
        mail_from_name: The service's name: ``Dana via Review``.
        links: Signs the links that stop emails.
        templates_dir: Folder whose ``email/…`` files override the built-in templates.
        added_templates: Folders with templates of further event types.
    """

    def __init__(
        self,
        *,
        mail_from: str,
        mail_from_name: str,
        links: SignedLinks,
        templates_dir: Path | None = None,
        added_templates: tuple[Path, ...] = (),
    ) -> None:
        self._mail_from = stated_address("NOTIFY_MAIL_FROM", mail_from)
        self._mail_from_name = mail_from_name
        self._links = links
        self._is_plain = PLAIN_ADDRESS.fullmatch(links.public_url) is not None
        self._renderer = Renderer(templates_dir, added=added_templates)
        self._best = lru_cache(LOCALES_KEPT)(self._renderer.languages.best)
        self._recipient = lru_cache(RECIPIENTS_KEPT)(self._new_recipient)
        self._kept: OrderedDict[tuple[int, str, str], _PerLanguage] = OrderedDict()

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that have a catalogue, and English."""
        return self._renderer.languages.known

    def compile_templates(self) -> None:
        """Compile all templates before a fork, for the processes after it."""
        self._renderer.compile()

    def compose(self, email: EmailFacts, *, date: datetime) -> Composed:
        """
        The email as it is sent at *date* (aware UTC). The same facts make the same bytes.

        Raises:
            TemplateFailure: A template is missing or cannot be rendered.
            UnsafeHeader: A name, a title or another value could end its header early.
            UnusableAddress: The recipient's address is none.
        """
        person = email.recipient
        recipient = self._recipient(person.username, person.name, email.to_email)
        written = self._per_language(email)
        shared = written.by_reason.get(email.reason) or self._new_reason(written, email)
        stopping = self._links.stopping(recipient.token, shared.token)
        mute = stopping + SUFFIXES[Scope.CHANGE_LIST]
        own_headers = (
            recipient.to_field,
            _date(date.replace(microsecond=0)),
            token_field("Message-ID", f"<{email.message_id}>"),
            url_field("List-Unsubscribe", (stopping + SUFFIXES[shared.one_click]).decode()),
        )
        return Composed(
            recipient=recipient.address,
            international=recipient.international,
            content=b"".join((*own_headers, *_after_own_headers(shared, mute, recipient))),
            subject=written.rendered.subject,
            shared=shared,
            mute=mute,
            preferences=recipient.preferences,
        )

    def _new_recipient(self, username: str, name: str, email: str) -> _Recipient:
        """
        Raises:
            UnsafeHeader: The name could end its header early.
            UnusableAddress: The address is none.
        """
        to, preferences = address(email), self._links.preferences(username).encode()
        return _Recipient(
            address=to.text,
            international=to.international or self._mail_from.international,
            to_field=mailbox_field("To", name, to),
            token=encoded(username),
            preferences=preferences,
            preferences_quoted=quoted(preferences),
        )

    def _per_language(self, email: EmailFacts) -> _PerLanguage:
        """The cached part, unless the facts have changed. Bundles and digests are never cached."""
        locale = self._best(email.recipient.locale)
        facts = (email.event, email.change_list, email.actor, email.message_id.rpartition("@")[2])
        if email.entries or email.digest:
            return self._new_language(email, locale, facts)
        key = (email.event.id, email.event.type, locale)
        written = self._kept.get(key)
        if written is None or written.facts != facts:
            written = self._kept[key] = self._new_language(email, locale, facts)
        self._kept.move_to_end(key)
        if len(self._kept) > EVENTS_KEPT:
            self._kept.popitem(last=False)
        return written

    def _new_language(
        self, email: EmailFacts, locale: str, facts: tuple[Event, ChangeList, Person, str]
    ) -> _PerLanguage:
        rendered = self._renderer.render(email, locale=locale)
        headers = common_headers(
            email, rendered.subject, host=facts[-1], service=self._mail_from_name, mail_from=self._mail_from
        )
        return _PerLanguage(facts=facts, rendered=rendered, locale=locale, headers=headers)

    def _new_reason(self, written: _PerLanguage, email: EmailFacts) -> _PerReason:
        why = WHY_A_DIGEST[email.digest] if email.digest else _why(email)
        name = topic_name(email.event.type, email.change_list.link)
        known = {Placeholder.REASON: self._renderer.translated(why, locale=written.locale, cl=name)}
        text, html = written.rendered.text.with_values(known), written.rendered.html.with_values(known)
        headers = token_field("X-Notify-Reason", email.reason.value) + written.headers
        pieces, links = _in_pieces(headers, text, html) if self._is_plain else (None, ())
        shared = written.by_reason[email.reason] = _PerReason(
            token=subject(email.event.type, email.change_list.link),
            one_click=_one_click(email),
            headers=headers,
            text=text,
            html=html,
            pieces=pieces,
            links=links,
        )
        return shared


def _after_own_headers(shared: _PerReason, mute: bytes, recipient: _Recipient) -> Sequence[bytes]:
    """What follows a reader's own headers, in pieces."""
    preferences = recipient.preferences
    if shared.pieces is None or max(len(mute), len(preferences)) > LONGEST_VALUE:
        values = _values(mute, preferences)
        text, html = shared.text.filled(values), shared.html.filled(values)
        return (assemble(shared.headers, text=part(text), html=part(html)),)
    links = (mute, preferences, quoted(mute), recipient.preferences_quoted)
    pieces = list(shared.pieces)
    pieces[1::2] = [links[number] for number in shared.links]
    return pieces


def _values(mute: bytes, preferences: bytes) -> dict[Placeholder, str]:
    return {Placeholder.MUTE_URL: mute.decode(), Placeholder.PREFERENCES_URL: preferences.decode()}


def _in_pieces(headers: bytes, text: RenderedPart, html: RenderedPart) -> tuple[Sequence[bytes] | None, Sequence[int]]:
    """The message with an empty piece for each link, and the numbers of those links; None: a part is base64."""
    in_text, in_html = spliced(text.pieces), spliced(html.pieces)
    if in_text is None or in_html is None:
        return None, ()
    links = [
        LINKS.index(placeholder) + 2 * encoding.is_quoted
        for rendered, encoding in ((text, in_text), (html, in_html))
        for placeholder in rendered.placeholders
    ]
    pieces = [b""] * (2 * len(links) + 1)
    pieces[::2] = assemble_pieces(headers, text=in_text, html=in_html)
    return pieces, links


@lru_cache(2)
def _date(second: datetime) -> bytes:
    return token_field("Date", format_datetime(second))


def _one_click(email: EmailFacts) -> Scope:
    """
    What one click stops: this event type, or the change list if the email is about several types.

    One click in a digest stops everything that is not required.
    """
    if email.digest:
        return Scope.EVERYTHING
    return Scope.CHANGE_LIST if len(event_types(email)) > 1 else Scope.EVENT_TYPE
