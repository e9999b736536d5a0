"""What a template may say about a letter, and how much of it there is room for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from markupsafe import Markup

from notify.channels.email.writing import comments, graphemes
from notify.domain.events import ChangeList
from notify.domain.grammar import is_web_address
from notify.domain.jobs import EmailFacts
from notify.markdown import without_comments

LONGEST_COMMENT = 20_000
SHORTEST_COMMENT = 200
LONGEST_CODE = 2_000
LONGEST_SNIPPET = 140
LONGEST_TITLE = 250
READ_FOR_EACH_SHOWN = 4
MOST_NAMES = 20


@dataclass(frozen=True, slots=True)
class Room:
    """
    How much is shown of what people chose.

    Args:
        words: Characters of what one event carries; 0: none of it, only who did what and where it stands.
        name: Characters of a name.
        address: Bytes of an address in HTML; what is longer leads to the change list instead.
    """

    words: int
    name: int = 1_000
    address: int = 20_000


NO_WORDS = Room(words=0)
LEAST = Room(words=0, name=24, address=200)


def rooms(events: int) -> Iterator[Room]:
    """
    From as much as an email ever shows to as little as it needs, until it is small enough.

    Args:
        events: How many the email tells of. An email about one always shows the beginning of what was said.
    """
    words = LONGEST_COMMENT // events
    yield Room(words)
    while words > SHORTEST_COMMENT:
        words //= 2
        yield Room(words)
    if events > 1:
        yield NO_WORDS
        yield LEAST


def facts_of(letter: EmailFacts, *, room: Room) -> dict[str, Any]:
    """Everything a template may say about an email; None where nothing is known."""
    cl, event = letter.change_list, letter.event
    comment, review, request, change = (event.part(name) for name in ("comment", "review", "request", "change"))
    addresses = (one.get("url") for one in (comment, review, change))
    return {
        "event": event.type,
        "actor": comments.shortened(comments.one_line(letter.actor.name), room.name),
        "url": next((found for url in (*addresses, cl.url) if (found := web_address(url, room=room))), None),
        "cl": cl_facts(cl, room=room),
        "comment": comment_facts(comment, room=room) if comment else None,
        "review": review_facts(review, room=room) if review else None,
        "request": request_facts(request) if request else None,
        "change": change_facts(change, room=room) if change else None,
    }


def cl_facts(cl: ChangeList, *, room: Room) -> dict[str, str | None]:
    """What a template may say about a change list."""
    return {
        "link": comments.shortened(comments.one_line(cl.link), room.name),
        "title": comments.cut(comments.one_line(cl.title or ""), LONGEST_TITLE) or None,
        "repository": comments.one_line(cl.repository or "") or None,
        "url": web_address(cl.url, room=room),
    }


def thread_facts(cl: ChangeList, *, room: Room) -> dict[str, str | None]:
    """
    What the subject may say about a change list: what it said when the thread began.

    Gmail begins a new conversation where a subject differs from the one before it.
    """
    began = replace(cl, title=cl.first_title or cl.title, repository=cl.first_repository or cl.repository)
    return cl_facts(began, room=room)


def opening(letter: EmailFacts) -> str:
    """The beginning of what was said, or who did something."""
    facts = facts_of(letter, room=Room(SHORTEST_COMMENT))
    return str(facts["comment"]["snippet"] if facts["comment"] else facts["actor"])


def comment_facts(comment: Mapping[str, Any], *, room: Room) -> dict[str, Any]:
    """What a template may say about a comment."""
    code = comments.cut(comments.tidy(comment.get("code") or "").strip("\n"), min(LONGEST_CODE, room.words))
    return {
        **words_facts(comment.get("body"), room=room),
        "url": web_address(comment.get("url"), room=room),
        "path": comments.one_line(comment.get("path") or "") or None,
        "line": comment.get("line"),
        "code": comments.laid_open(code).split("\n") if code else [],
    }


def review_facts(review: Mapping[str, Any], *, room: Room) -> dict[str, Any]:
    """What a template may say about a review; ``more`` is how many of its comments are not shown."""
    facts = words_facts(review.get("body"), room=room)
    left, made = room.words - len(review.get("body") or ""), review.get("comments") or []
    told: list[dict[str, Any]] = []
    for comment in made if room.words else ():
        if left < SHORTEST_COMMENT and told:
            break
        told.append(comment_facts(comment, room=Room(max(left, SHORTEST_COMMENT))))
        body = comment.get("body") or ""
        left -= SHORTEST_COMMENT // 2 + len(body) + len(comment.get("code") or "")
    snippet = facts["snippet"] or (told[0]["snippet"] if told else "")
    return {**facts, "snippet": snippet, "state": review["state"], "comments": told, "more": len(made) - len(told)}


def request_facts(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a template may say about who is asked for a review: the first by name."""
    names = [comments.one_line(name) for name in request["reviewers"]]
    return {"reviewers": [*names[:MOST_NAMES], "…"] if len(names) > MOST_NAMES else names}


def change_facts(change: Mapping[str, Any], *, room: Room) -> dict[str, Any]:
    """What a template may say about what happened to the change list."""
    revision = comments.one_line(change.get("revision") or "") or None
    return {**words_facts(change.get("summary"), room=room), "revision": revision}


def words_facts(stated: object, *, room: Room) -> dict[str, Any]:
    """What somebody wrote, as it may be shown; ``cut`` when there is more than is shown."""
    written = str(stated or "")
    whole = without_comments(comments.tidy(graphemes.whole(written, READ_FOR_EACH_SHOWN * room.words)))
    body = comments.cut(whole, room.words)
    html = Markup(comments.as_html(body))  # noqa: S704 - sanitised by as_html
    return {
        "quoted": comments.as_quote(body) if body else "",
        "html": html,
        "snippet": comments.cut(comments.one_line(html.striptags()), LONGEST_SNIPPET),
        "cut": len(body) < len(whole) or len(written) > READ_FOR_EACH_SHOWN * room.words,
    }


def web_address(url: object, *, room: Room) -> str | None:
    """The address if a reader may be led there, else None: no script, no second attribute, no line end."""
    text = str(url or "")
    return text if is_web_address(text) and len(escape(text).encode()) <= room.address else None
