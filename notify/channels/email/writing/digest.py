"""What a digest shows: sections by change list, the newest messages, and how many older ones it leaves out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from notify.channels.email.writing.facts import Room
from notify.domain.jobs import EmailFacts

MOST_SHOWN = 100
MOST_WORDS = 2_000
LEAST_WORDS = 200
ALL_WORDS = 40_000
SHORT_NAME = 200
SHORT_ADDRESS = 500
MOST_LEFT = 40


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a digest shows: so many messages, and so much of each."""

    messages: int
    room: Room


@dataclass(frozen=True, slots=True)
class Section:
    """One change list in a digest: its first letter, for the facts, and those whose words are shown, in order."""

    first: EmailFacts
    shown: tuple[EmailFacts, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """How many messages about a change list are left out, and one of them."""

    one: EmailFacts
    count: int


@dataclass(frozen=True, slots=True)
class Contents:
    """
    A digest's parts.

    Args:
        left: Where older messages were left out; at most 40 change lists, the most recent first.
        more: How many messages are left out in all.
        more_cls: How many change lists are left out that ``left`` does not name.
    """

    sections: tuple[Section, ...]
    left: tuple[Left, ...]
    more: int
    more_cls: int


def extents(count: int) -> Iterator[Extent]:
    """Ever smaller ones for so many messages: first fewer words, then fewer messages, at last a single one."""
    messages = min(count, MOST_SHOWN)
    words = max(LEAST_WORDS, min(MOST_WORDS, ALL_WORDS // messages))
    yield Extent(messages, Room(words))
    while words > LEAST_WORDS:
        words //= 2
        yield Extent(messages, Room(words))
    while messages > 1:
        messages //= 2
        yield Extent(messages, Room(words, name=SHORT_NAME, address=SHORT_ADDRESS))


def contents(entries: Sequence[EmailFacts], extent: Extent) -> Contents:
    """What a digest of these has room for: the newest stay."""
    shown, dropped = entries[-extent.messages :], entries[: -extent.messages]
    links = dict.fromkeys(one.change_list.link for one in shown)
    counts = Counter(one.change_list.link for one in dropped)
    latest = {one.change_list.link: one for one in dropped}
    newest_first = sorted(latest.values(), key=lambda one: one.event.id, reverse=True)
    return Contents(
        sections=tuple(_section(link, shown) for link in links),
        left=tuple(Left(one, counts[one.change_list.link]) for one in islice(newest_first, MOST_LEFT)),
        more=len(dropped),
        more_cls=max(0, len(latest) - MOST_LEFT),
    )


def _section(link: str, shown: Sequence[EmailFacts]) -> Section:
    about = tuple(one for one in shown if one.change_list.link == link)
    return Section(about[0], about)
