"""The facts that templates may use, within limits on how much is shown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from markupsafe import Markup

from notify.channels.email.writing import comments, graphemes
from notify.domain.events import FOR_OPERATORS, ChangeList, topic_name
from notify.domain.grammar import is_web_address
from notify.domain.jobs import EmailFacts
from notify.markdown import without_comments

LONGEST_COMMENT = 20_000
SHORTEST_COMMENT = 200
LONGEST_CODE = 2_000
LONGEST_SNIPPET = 140
LONGEST_TITLE = 250
READ_FOR_EACH_SHOWN = 4
SINCE = "since"
MOST_NAMES = 20
MOST_PROJECTS = 10
MOST_SUSPECTS = 20
SHORT_SHA = 12


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How much of what people wrote is shown.

    Args:
        characters: Of the text of one event; 0: none of it, only who did what, and the link.
        name: Characters of a name.
        address: Bytes of an address in HTML; what is longer leads to the change list instead.
    """

    characters: int
    name: int = 1_000
    address: int = 20_000


NO_WORDS = Limits(characters=0)
LEAST = Limits(characters=0, name=24, address=200)


def shrinking_limits(events: int) -> Iterator[Limits]:
    """
    Progressively smaller limits to try until the email fits.

    Args:
        events: How many the email is about. An email about one always shows the beginning of its text.
    """
    words = LONGEST_COMMENT // events
    yield Limits(words)
    while words > SHORTEST_COMMENT:
        words //= 2
        yield Limits(words)
    if events > 1:
        yield NO_WORDS
        yield LEAST


def facts_of(email: EmailFacts, *, limits: Limits) -> dict[str, Any]:
    """Everything a template may say about an email; None where nothing is known."""
    cl, event = email.change_list, email.event
    comment, review, request, change = map(event.payload_object, ("comment", "review", "request", "change"))
    source, status, queue = map(event.payload_object, ("source", "status", "queue"))
    addresses = (one.get("url") for one in (comment, review, change, queue))
    written = {
        "comment": comment_facts(comment, limits=limits) if comment else None,
        "review": review_facts(review, limits=limits) if review else None,
        "change": change_facts(change, limits=limits) if change else None,
    }
    return {
        **written,
        "event": event.type,
        "actor": comments.shortened(comments.one_line(email.actor.name), limits.name),
        "url": next((found for url in (*addresses, cl.url) if (found := web_address(url, limits=limits))), None),
        "cl": topic_facts(email, limits=limits),
        "can_mute": event.type not in FOR_OPERATORS,
        "source": one_line_facts(source, limits=limits) if source else None,
        "status": one_line_facts(status, limits=limits) if status else None,
        "queue": queue_facts(queue, limits=limits) if queue else None,
        "request": {"reviewers": _some_names(request["reviewers"])} if request else None,
        "snippet": next((one["snippet"] for one in written.values() if one), ""),
    }


def one_line_facts(stated: Mapping[str, Any], *, limits: Limits) -> dict[str, Any]:
    """What a template may say about what notify itself has found: each text as one line; ``since`` stays whole."""
    return {
        name: comments.shortened(comments.one_line(value), limits.name)
        if isinstance(value, str) and name != SINCE
        else value
        for name, value in stated.items()
    }


def queue_facts(stated: Mapping[str, Any], *, limits: Limits) -> dict[str, Any]:
    """What a template may say about a queue's head: the range, what is broken, and whose commits are in it."""
    projects, suspects = stated["projects"][:MOST_PROJECTS], stated["suspects"][:MOST_SUSPECTS]
    left = len(stated["projects"]) + stated["more_projects"] - len(projects)
    return {
        **one_line_facts({name: stated[name] for name in ("name", "repository", "ref", "request")}, limits=limits),
        "head": _short(stated["head"]),
        "base": _short(stated["base"] or ""),
        "projects": [
            {
                "name": comments.shortened(comments.one_line(one["name"]), limits.name),
                "percent": _percent(one["degree"]),
            }
            for one in projects
        ],
        "more_projects": left,
        "suspects": [_suspect_facts(one, limits=limits) for one in suspects],
        "more_suspects": len(stated["suspects"]) + stated["more_suspects"] - len(suspects),
    }


def _suspect_facts(stated: Mapping[str, Any], *, limits: Limits) -> dict[str, str | None]:
    shown = one_line_facts({name: stated[name] or "" for name in ("title", "name", "link")}, limits=limits)
    return {**shown, "sha": _short(stated["sha"]), "url": web_address(stated["url"], limits=limits)}


def _short(sha: str) -> str:
    return comments.one_line(sha)[:SHORT_SHA]


def _percent(degree: float) -> int:
    """How broken, in percent; what is not green is at least one."""
    return max(1, round(100 * degree))


def _some_names(stated: Sequence[str]) -> list[str]:
    names = [comments.one_line(name) for name in stated]
    return [*names[:MOST_NAMES], "…"] if len(names) > MOST_NAMES else names


def cl_facts(cl: ChangeList, *, limits: Limits) -> dict[str, str | None]:
    """What a template may say about a change list."""
    return {
        "link": comments.shortened(comments.one_line(cl.link), limits.name),
        "title": comments.shortened(comments.one_line(cl.title or ""), LONGEST_TITLE) or None,
        "repository": comments.one_line(cl.repository or "") or None,
        "url": web_address(cl.url, limits=limits),
    }


def topic_facts(email: EmailFacts, *, limits: Limits) -> dict[str, str | None]:
    """What a template may say about the email's topic; of one that is no change list, its name as ``link``."""
    cl = email.change_list
    return cl_facts(replace(cl, link=topic_name(email.event.type, cl.link)), limits=limits)


def thread_facts(email: EmailFacts, *, limits: Limits) -> dict[str, str | None]:
    """
    What the subject may say about the email's topic: what it said when the thread began.

    Gmail begins a new conversation where a subject differs from the one before it.
    """
    cl = email.change_list
    began = replace(cl, title=cl.first_title or cl.title, repository=cl.first_repository or cl.repository)
    return topic_facts(replace(email, change_list=began), limits=limits)


def comment_facts(comment: Mapping[str, Any], *, limits: Limits) -> dict[str, Any]:
    """What a template may say about a comment."""
    code = comments.cut(comments.tidy(comment.get("code") or "").strip("\n"), min(LONGEST_CODE, limits.characters))
    return {
        **text_facts(comment.get("body"), limits=limits),
        "url": web_address(comment.get("url"), limits=limits),
        "path": comments.one_line(comment.get("path") or "") or None,
        "line": comment.get("line"),
        "code": comments.show_invisible(code).split("\n") if code else [],
    }


def review_facts(review: Mapping[str, Any], *, limits: Limits) -> dict[str, Any]:
    """What a template may say about a review; ``more`` is how many of its comments are not shown."""
    facts = text_facts(review.get("body"), limits=limits)
    left, made = limits.characters - len(review.get("body") or ""), review.get("comments") or []
    shown: list[dict[str, Any]] = []
    for comment in made if limits.characters else ():
        if left < SHORTEST_COMMENT and shown:
            break
        shown.append(comment_facts(comment, limits=Limits(max(left, SHORTEST_COMMENT))))
        body = comment.get("body") or ""
        left -= SHORTEST_COMMENT // 2 + len(body) + len(comment.get("code") or "")
    snippet = facts["snippet"] or (shown[0]["snippet"] if shown else "")
    return {**facts, "snippet": snippet, "state": review["state"], "comments": shown, "more": len(made) - len(shown)}


def change_facts(change: Mapping[str, Any], *, limits: Limits) -> dict[str, Any]:
    """What a template may say about a change: ``lines`` is how many it adds and removes, as ``+120 -31``."""
    counts = (("+", change.get("added")), ("-", change.get("removed")))
    lines = " ".join(f"{sign}{count}" for sign, count in counts if count is not None)
    return {
        **text_facts(change.get("summary"), limits=limits),
        "revision": comments.one_line(change.get("revision") or "") or None,
        "files": change.get("files"),
        "lines": lines,
        "has_size": bool(lines) or "files" in change,
    }


def text_facts(stated: object, *, limits: Limits) -> dict[str, Any]:
    """Text that somebody wrote, safe to show; ``cut`` if there is more."""
    written = str(stated or "")
    whole = without_comments(comments.tidy(graphemes.truncate(written, READ_FOR_EACH_SHOWN * limits.characters)))
    body = comments.cut(whole, limits.characters)
    html = Markup(comments.as_html(body))  # noqa: S704 - sanitised by as_html
    return {
        "quoted": comments.as_quote(body) if body else "",
        "html": html,
        "snippet": comments.shortened(comments.one_line(html.striptags()), LONGEST_SNIPPET),
        "cut": len(body) < len(whole) or len(written) > READ_FOR_EACH_SHOWN * limits.characters,
    }


def web_address(url: object, *, limits: Limits) -> str | None:
    """The address if it is a safe web address within the limit, else None."""
    text = str(url or "")
    return text if is_web_address(text) and len(escape(text).encode()) <= limits.address else None
