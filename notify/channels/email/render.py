"""
Templates and facts in; subject, text and HTML out, once per event, with places for what differs per reader.

*Decided*: the places are marked by a random token of this process, so no comment can hold one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from pathlib import Path
from re import compile as pattern
from secrets import token_hex
from typing import Any

from css_inline import CSSInliner
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined, TemplateNotFound, select_autoescape
from markupsafe import Markup

from notify import resources
from notify.channels.email import comments
from notify.channels.languages import Languages
from notify.domain.errors import NotifyError
from notify.domain.jobs import Letter

LONGEST_COMMENT = 20_000
SHORTEST_COMMENT = 200
LONGEST_CODE = 2_000
LONGEST_SNIPPET = 140
SNIPPETS = 3
LONGEST_HTML = 88_000
MARK_COUNTS = 5
LONGEST_TITLE = 250

WEB_ADDRESS = pattern(r"https?://[^\s<>\"]+")


class TemplateFailure(NotifyError):
    """A template of the letter could not be rendered."""


class Place(StrEnum):
    """What differs between the letters about one event."""

    REASON = "reason"
    MUTE_URL = "mute_url"
    PREFERENCES_URL = "preferences_url"


@dataclass(frozen=True, slots=True)
class Part:
    """
    One rendered part: the beginning that all readers share, and what follows from the first place on.

    Args:
        ending: With ``%s`` for each of ``places``, in their order.
        is_html: Whether values are escaped when they are put in.
    """

    beginning: str
    ending: str
    places: tuple[Place, ...]
    is_html: bool

    def ended(self, values: Mapping[Place, str]) -> str:
        """The ending for one reader."""
        filled = (values[place] for place in self.places)
        return self.ending % tuple(map(escape, filled) if self.is_html else filled)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What the templates made of one event."""

    subject: str
    text: Part
    html: Part


@dataclass(frozen=True, slots=True)
class Entry:
    """One event among several in a letter."""

    text: str
    html: Markup


class Renderer:
    """
    The templates of this process, compiled once.

    Args:
        templates_dir: Folder whose ``email/…`` files override the built-in ones.
    """

    def __init__(self, templates_dir: Path | None = None) -> None:
        folders = [*([templates_dir] if templates_dir else []), resources.folder("templates")]
        self.languages = Languages(folders)
        self._loader = ChoiceLoader([FileSystemLoader(folder / "email") for folder in folders])
        self._environments: dict[str, Environment] = {}
        self._inliner = CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)
        self._tokens = {place: f"{place.name}{token_hex(16)}" for place in Place}
        self._places = {token: place for place, token in self._tokens.items()}
        self._split = pattern(f"({'|'.join(self._places)})").split

    def render(self, letter: Letter, *, locale: str) -> Rendered:
        """
        Subject, text and HTML of every letter about this event, or of the one letter about several.

        Args:
            locale: A language that is known.

        Raises:
            TemplateFailure: A template is missing or cannot be rendered.
        """
        if letter.entries:
            return self._several(letter, locale=locale)
        shown = LONGEST_COMMENT
        facts = self._facts(letter, shown=shown, locale=locale)
        html = self._html(letter.event.type, facts)
        while len(html.encode()) > LONGEST_HTML and shown > SHORTEST_COMMENT:
            shown //= 2
            facts = self._facts(letter, shown=shown, locale=locale)
            html = self._html(letter.event.type, facts)
        text = self._render(f"{letter.event.type}/body.txt", facts | {"layout": "_base/body.txt"})
        return Rendered(str(facts["subject"]), self._part(text, is_html=False), self._part(html, is_html=True))

    def entry(self, letter: Letter, *, locale: str, shown: int = LONGEST_COMMENT) -> Entry:
        """
        What one event says as one entry of a letter about several: who, the words, the link.

        Args:
            shown: Characters of what was written that are shown at most.

        Raises:
            TemplateFailure: A template is missing or cannot be rendered.
        """
        event_type = letter.event.type
        facts = facts_of(letter, shown=shown) | {"locale": locale, "several": True}
        text, html = (
            self._render(f"{event_type}/body.{form}", {**facts, "layout": f"_base/entry.{form}"})
            for form in ("txt", "html")
        )
        return Entry(text, Markup(html))  # noqa: S704 - a template's own, escaped

    def said(self, message: str, *, locale: str, **values: str) -> str:
        """
        One sentence in this language.

        Raises:
            TemplateFailure: Its translation asks for a value that there is not.
        """
        try:
            return self.languages.translations(locale).gettext(message) % values
        except (KeyError, ValueError, TypeError) as error:
            raise TemplateFailure(template=message, error=type(error).__name__) from error

    def _several(self, letter: Letter, *, locale: str) -> Rendered:
        """The words of each entry, one after the other, below what they have in common."""
        shown = LONGEST_COMMENT // len(letter.entries)
        facts = self._facts(letter, shown=SHORTEST_COMMENT, locale=locale) | {"several": True}
        facts["snippets"] = [_beginning(entry) for entry in letter.entries[:SNIPPETS]]
        entries, html = self._joined(letter, facts, shown=shown)
        while len(html.encode()) > LONGEST_HTML and shown > SHORTEST_COMMENT:
            shown //= 2
            entries, html = self._joined(letter, facts, shown=shown)
        text = self._render("_together/body.txt", facts | {"entries": [entry.text for entry in entries]})
        return Rendered(str(facts["subject"]), self._part(text, is_html=False), self._part(html, is_html=True))

    def _joined(self, letter: Letter, facts: Mapping[str, Any], *, shown: int) -> tuple[list[Entry], str]:
        """The entries, with so much of what was written, and the HTML of them all."""
        entries = [self.entry(entry, locale=facts["locale"], shown=shown) for entry in letter.entries]
        html = self._render("_together/body.html", {**facts, "entries": [entry.html for entry in entries]})
        return entries, self._inliner.inline(html)

    def _facts(self, letter: Letter, *, shown: int, locale: str) -> dict[str, Any]:
        facts = facts_of(letter, shown=shown) | {"locale": locale, "several": False}
        facts |= {place.value: token for place, token in self._tokens.items()}
        return facts | {"subject": self._render(f"{letter.event.type}/subject.txt", facts).strip()}

    def _html(self, event_type: str, facts: Mapping[str, Any]) -> str:
        return self._inliner.inline(self._render(f"{event_type}/body.html", {**facts, "layout": "_base/body.html"}))

    def _render(self, name: str, facts: Mapping[str, Any]) -> str:
        try:
            return self._environment(facts["locale"]).get_template(name).render(facts)
        except TemplateNotFound as error:
            raise TemplateFailure(template=error.name, error="not found") from error
        except Exception as error:
            raise TemplateFailure(template=name, error=type(error).__name__) from error

    def _environment(self, locale: str) -> Environment:
        """The templates in one language; a language costs the compilation of the templates that it uses."""
        if locale not in self._environments:
            environment = Environment(
                loader=self._loader,
                autoescape=select_autoescape(["html"]),
                undefined=StrictUndefined,
                trim_blocks=True,
                lstrip_blocks=True,
                keep_trailing_newline=True,
            )
            environment.filters["fold"] = comments.fold
            self._environments[locale] = self.languages.speak(environment, locale)
        return self._environments[locale]

    def _part(self, rendered: str, *, is_html: bool) -> Part:
        beginning, *rest = self._split(rendered)
        ending = "".join("%s" if piece in self._places else piece.replace("%", "%%") for piece in rest)
        places = tuple(self._places[piece] for piece in rest if piece in self._places)
        return Part(beginning, ending, places, is_html)


def facts_of(letter: Letter, *, shown: int) -> dict[str, Any]:
    """
    Everything a template may say about a letter; None where nothing is known.

    Args:
        shown: Characters of the comment that are shown at most.
    """
    cl, event = letter.change_list, letter.event
    comment, review, request, change = (event.part(name) for name in ("comment", "review", "request", "change"))
    return {
        "event": event.type,
        "actor": comments.one_line(letter.actor.name),
        "url": next(filter(None, (web_address(one.get("url")) for one in (comment, review, change))), None)
        or web_address(cl.url),
        "cl": {
            "link": comments.one_line(cl.link),
            "title": comments.cut(comments.one_line(cl.title or ""), LONGEST_TITLE) or None,
            "repository": comments.one_line(cl.repository or "") or None,
            "url": web_address(cl.url),
        },
        "comment": comment_facts(comment, shown=shown) if comment else None,
        "review": review_facts(review, shown=shown) if review else None,
        "request": {"reviewers": [comments.one_line(name) for name in request["reviewers"]]} if request else None,
        "change": change_facts(change, shown=shown) if change else None,
    }


def _beginning(letter: Letter) -> str:
    """The beginning of what was said, or who did something."""
    facts = facts_of(letter, shown=SHORTEST_COMMENT)
    return str(facts["comment"]["snippet"] if facts["comment"] else facts["actor"])


def comment_facts(comment: Mapping[str, Any], *, shown: int) -> dict[str, Any]:
    """What a template may say about a comment."""
    code = comments.cut(comments.tidy(comment.get("code") or "").strip("\n"), min(LONGEST_CODE, shown))
    return {
        **words_facts(comment.get("body"), shown=shown),
        "url": web_address(comment.get("url")),
        "path": comments.one_line(comment.get("path") or "") or None,
        "line": comment.get("line"),
        "code": comments.laid_open(code).split("\n") if code else [],
    }


def review_facts(review: Mapping[str, Any], *, shown: int) -> dict[str, Any]:
    """What a template may say about a review; ``more`` is how many of its comments are not shown."""
    facts = words_facts(review.get("body"), shown=shown)
    left, made = shown - len(review.get("body") or ""), review.get("comments") or []
    told: list[dict[str, Any]] = []
    for comment in made:
        if left < SHORTEST_COMMENT and told:
            break
        told.append(comment_facts(comment, shown=max(left, SHORTEST_COMMENT)))
        body = comment.get("body") or ""
        left -= SHORTEST_COMMENT // 2 + len(body) + MARK_COUNTS * comments.marks(body) + len(comment.get("code") or "")
    snippet = facts["snippet"] or (told[0]["snippet"] if told else "")
    return {**facts, "snippet": snippet, "state": review["state"], "comments": told, "more": len(made) - len(told)}


def change_facts(change: Mapping[str, Any], *, shown: int) -> dict[str, Any]:
    """What a template may say about what happened to the change list."""
    revision = comments.one_line(change.get("revision") or "") or None
    return {**words_facts(change.get("summary"), shown=shown), "revision": revision}


def words_facts(markdown: object, *, shown: int) -> dict[str, Any]:
    """What somebody wrote, as it may be shown; ``cut`` when there is more than is shown."""
    whole = comments.tidy(markdown or "")
    body = comments.cut(whole, shown)
    html = Markup(comments.as_html(body))  # noqa: S704 - sanitised by as_html
    return {
        "quoted": comments.as_quote(body) if body else "",
        "html": html,
        "snippet": comments.cut(comments.one_line(html.striptags()), LONGEST_SNIPPET),
        "cut": len(body) < len(whole),
    }


def web_address(url: object) -> str | None:
    """The address if a reader may be led there, else None: no script, no second attribute, no line end."""
    text = str(url or "")
    return text if WEB_ADDRESS.fullmatch(text) else None
