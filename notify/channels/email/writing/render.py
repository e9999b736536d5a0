"""
Renders subject, text and HTML once per event, with placeholders for what differs between readers.

*Decided*: the placeholders are marked by a random token of this process, so no comment can hold one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache, partial
from html import escape
from pathlib import Path
from secrets import token_hex
from traceback import walk_tb
from typing import Any

from css_inline import CSSInliner
from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateError,
    TemplateSyntaxError,
    select_autoescape,
)
from markupsafe import Markup

from notify import resources
from notify.channels.email.writing import comments
from notify.channels.email.writing.digest import DigestContents, digest_contents, shrinking_sizes
from notify.channels.email.writing.facts import (
    SHORTEST_COMMENT,
    Limits,
    facts_of,
    shrinking_limits,
    thread_facts,
    topic_facts,
)
from notify.channels.languages import Languages, moment
from notify.domain.errors import NotifyError
from notify.domain.jobs import EmailFacts

SNIPPETS = 3
FOLDERS_KEPT = 8
LANGUAGES_KEPT = 64
LARGEST_PART = 85_000


class TemplateFailure(NotifyError):
    """A template of the email could not be rendered."""


class Placeholder(StrEnum):
    """A value that differs between the emails about one event."""

    REASON = "reason"
    MUTE_URL = "mute_url"
    PREFERENCES_URL = "preferences_url"


PLACEHOLDERS = tuple(Placeholder)


@dataclass(frozen=True, slots=True)
class RenderedPart:
    """
    A rendered text or HTML in pieces, with one of ``placeholders`` between each two.

    Args:
        is_html: Whether values are escaped when they are put in.
    """

    pieces: tuple[str, ...]
    placeholders: tuple[Placeholder, ...]
    is_html: bool

    def filled(self, values: Mapping[Placeholder, str]) -> str:
        """The part for one reader."""
        return "".join(self.with_values(values).pieces)

    def with_values(self, values: Mapping[Placeholder, str]) -> "RenderedPart":
        """The same part with these values put in."""
        pieces, placeholders = [self.pieces[0]], []
        for placeholder, piece in zip(self.placeholders, self.pieces[1:], strict=True):
            if placeholder in values:
                pieces[-1] += (escape(values[placeholder]) if self.is_html else values[placeholder]) + piece
            else:
                placeholders.append(placeholder)
                pieces.append(piece)
        return RenderedPart(tuple(pieces), tuple(placeholders), self.is_html)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What the templates made of one event."""

    subject: str
    text: RenderedPart
    html: RenderedPart


Written = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One event among several in an email."""

    text: str
    html: Markup


class Renderer:
    """
    Renders the templates, which are compiled once for the whole process.

    Args:
        templates_dir: Folder whose ``email/…`` files override the built-in ones.
        added: Folders with templates of further event types, which override nothing.
    """

    def __init__(self, templates_dir: Path | None = None, *, added: tuple[Path, ...] = ()) -> None:
        self._templates_dir = templates_dir
        self._added = added
        self.languages = _languages(templates_dir, added)
        self._inliner = CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)
        self._token = token_hex(16)
        self._placeholder_tokens = {
            placeholder.value: f"{self._token}{number}" for number, placeholder in enumerate(PLACEHOLDERS)
        }

    def compile(self) -> None:
        """
        Compile every template in every language, so that processes forked from this one need not.

        A deployment's own, which may change meanwhile, and those of other packages are compiled as they are used.
        """
        ours = FileSystemLoader(resources.folder("templates") / "email").list_templates()
        for locale in self.languages.known if self._templates_dir is None else ():
            environment = _environment(self._templates_dir, self._added, locale)
            for name in ours:
                environment.get_template(name)

    def render(self, email: EmailFacts, *, locale: str) -> Rendered:
        """
        Subject, text and HTML of every email about this event, or of the one email about several.

        Args:
            locale: A language that is known.

        Raises:
            TemplateFailure: A template is missing or cannot be rendered.
        """
        write = self._digest if email.digest else self._several if email.entries else self._alone
        for subject, text, html in write(email, locale=locale):  # noqa: B007 - the last is taken if none fits
            if max(len(text.encode()), len(html.encode())) <= LARGEST_PART:
                break
        return Rendered(subject, self._part(text, is_html=False), self._part(html, is_html=True))

    def entry(self, email: EmailFacts, *, locale: str, limits: Limits) -> Entry:
        """
        One event as an entry of a bundle or digest: when, who, the text, the link.

        The time is in the reader's language and time zone.

        Raises:
            TemplateFailure: A template is missing or cannot be rendered.
        """
        event_type, layout = email.event.type, "_base/entry" if limits.characters else "_base/brief"
        at = moment(email.event.occurred_at, language=locale, timezone=email.recipient.timezone)
        facts = facts_of(email, limits=limits) | {"locale": locale, "at": at}
        text, html = (
            self._render(f"{event_type}/body.{form}", {**facts, "layout": f"{layout}.{form}"})
            for form in ("txt", "html")
        )
        return Entry(text, Markup(html))  # noqa: S704 - a template's own, escaped

    def translated(self, message: str, *, locale: str, **values: str) -> str:
        """
        One sentence in this language.

        Raises:
            TemplateFailure: Its translation asks for a value that there is not.
        """
        try:
            return self.languages.translations(locale).gettext(message) % values
        except (KeyError, ValueError, TypeError) as error:
            raise TemplateFailure(template=message, error=type(error).__name__) from error

    def _alone(self, email: EmailFacts, *, locale: str) -> Iterator[Written]:
        """The email about one event."""
        name = email.event.type
        for limits in shrinking_limits(1):
            facts = self._facts(email, limits=limits, locale=locale)
            facts["preheader"] = self._opening(facts)
            html = self._html(f"{name}/body.html", facts | {"layout": "_base/body.html"})
            yield facts["subject"], self._render(f"{name}/body.txt", facts | {"layout": "_base/body.txt"}), html

    def _several(self, email: EmailFacts, *, locale: str) -> Iterator[Written]:
        """A bundle: a common headline, then each entry."""
        facts = self._facts(email, limits=Limits(SHORTEST_COMMENT), locale=locale)
        facts["preheader"] = self._openings(email.entries[:SNIPPETS], locale=locale)
        for limits in shrinking_limits(len(email.entries)):
            facts["brief"] = not limits.characters
            entries = [self.entry(entry, locale=locale, limits=limits) for entry in email.entries]
            html = self._html("_bundle/body.html", facts | {"entries": [entry.html for entry in entries]})
            text = self._render("_bundle/body.txt", facts | {"entries": [entry.text for entry in entries]})
            yield facts["subject"], text, html

    def _digest(self, email: EmailFacts, *, locale: str) -> Iterator[Written]:
        """Sections by topic; the oldest updates are left out first."""
        entries = email.entries or (email,)
        facts: dict[str, Any] = {
            **self._placeholder_tokens,
            "locale": locale,
            "digest": str(email.digest),
            "count": len(entries),
            "cls": len({one.change_list.link for one in entries if one.event.is_about_change_list}),
            # What is about something else still, operators get at once.
            "queues": len({one.change_list.link for one in entries if not one.event.is_about_change_list}),
            "preheader": self._openings(entries[: -SNIPPETS - 1 : -1], locale=locale),
        }
        facts["subject"] = self._render("_digest/subject.txt", facts).strip()
        for size in shrinking_sizes(len(entries)):
            yield facts["subject"], *self._digest_parts(digest_contents(entries, size.updates), size.limits, facts)

    def _digest_parts(self, shown: DigestContents, limits: Limits, facts: Mapping[str, Any]) -> tuple[str, str]:
        left = [{"cl": topic_facts(one, limits=limits), "count": count} for one, count in shown.left]
        facts = {**facts, "left": left, "more": shown.more, "more_topics": shown.more_topics}
        texts, htmls = [], []
        for section in shown.sections:
            cl = topic_facts(section[0], limits=limits)
            entries = [self.entry(one, locale=facts["locale"], limits=limits) for one in section]
            texts.append({"cl": cl, "entries": [one.text for one in entries]})
            htmls.append({"cl": cl, "entries": [one.html for one in entries]})
        html = self._html("_digest/body.html", {**facts, "sections": htmls})
        return self._render("_digest/body.txt", {**facts, "sections": texts}), html

    def _openings(self, emails: Sequence[EmailFacts], *, locale: str) -> str:
        limits = Limits(SHORTEST_COMMENT)
        return " · ".join(self._opening(facts_of(one, limits=limits) | {"locale": locale}) for one in emails)

    def _opening(self, facts: Mapping[str, Any]) -> str:
        """Who did what, and the first words: what a mail reader shows beside the subject."""
        return self._render(f"{facts['event']}/body.txt", {**facts, "layout": "_base/preheader.txt"}).strip()

    def _facts(self, email: EmailFacts, *, limits: Limits, locale: str) -> dict[str, Any]:
        facts = facts_of(email, limits=limits) | {"locale": locale} | self._placeholder_tokens
        thread = facts | {"cl": thread_facts(email, limits=limits)}
        return facts | {"subject": self._render(f"{email.event.type}/subject.txt", thread).strip()}

    def _html(self, name: str, facts: Mapping[str, Any]) -> str:
        return self._inliner.inline(self._render(name, facts))

    def _render(self, name: str, facts: Mapping[str, Any]) -> str:
        try:
            return _environment(self._templates_dir, self._added, facts["locale"]).get_template(name).render(facts)
        except Exception as error:
            raise _failure(name, error) from error

    def _part(self, rendered: str, *, is_html: bool) -> RenderedPart:
        first, *others = rendered.split(self._token)
        placeholders = tuple(PLACEHOLDERS[int(piece[0])] for piece in others)
        return RenderedPart((first, *(piece[1:] for piece in others)), placeholders, is_html)


def _failure(template: str, error: Exception) -> TemplateFailure:
    """File, line and Jinja's message. Messages of other errors may repeat what a person wrote and are left out."""
    for frame, line in walk_tb(error.__traceback__):
        if frame.f_code.co_filename.endswith((".txt", ".html")):
            template = f"{frame.f_code.co_filename}:{line}"
    if isinstance(error, TemplateSyntaxError):
        template = f"{error.filename or error.name}:{error.lineno}"
    what = f"{type(error).__name__}: {error.message}" if isinstance(error, TemplateError) else type(error).__name__
    return TemplateFailure(template=template, error=what)


def _moment(locale: str, stated: str) -> str:
    """An instant in ISO 8601, in words and in UTC, since readers in several zones get the same text."""
    return moment(datetime.fromisoformat(stated), language=locale, timezone=None)


def _folders(templates_dir: Path | None) -> list[Path]:
    return [*([templates_dir] if templates_dir else []), resources.folder("templates")]


@lru_cache(FOLDERS_KEPT)
def _languages(templates_dir: Path | None, added: tuple[Path, ...]) -> Languages:
    return Languages(_folders(templates_dir), added=added)


@lru_cache(LANGUAGES_KEPT)
def _environment(templates_dir: Path | None, added: tuple[Path, ...], locale: str) -> Environment:
    """
    The templates in one language; a language costs the compilation of the templates that it uses.

    A deployment's own are read again when they have changed: what died of one that was broken is sent by a worker that
    has been running all the while.
    """
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(folder / "email") for folder in (*_folders(templates_dir), *added)]),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=templates_dir is not None,
    )
    environment.filters["fold"] = comments.fold
    environment.filters["moment"] = partial(_moment, locale)
    return _languages(templates_dir, added).speak(environment, locale)
