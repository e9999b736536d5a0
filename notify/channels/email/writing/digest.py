"""Chooses what a digest shows: the newest updates by topic, and how many older ones are left out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from notify.channels.email.writing.facts import Limits
from notify.domain.jobs import EmailFacts

MOST_SHOWN = 100
MOST_WORDS = 2_000
LEAST_WORDS = 200
ALL_WORDS = 40_000
SHORT_NAME = 200
SHORT_ADDRESS = 500
MOST_LEFT = 40


@dataclass(frozen=True, slots=True)
class DigestSize:
    """How many updates a digest shows, and how much of each."""

    updates: int
    limits: Limits


@dataclass(frozen=True, slots=True)
class DigestContents:
    """
    What a digest shows and what it leaves out.

    Args:
        sections: What is shown, one topic after another, each in order.
        left: How many updates are left out, by the latest of each topic; at most 40, the most recent first.
        more: How many updates are left out in all.
        more_topics: How many topics are left out that ``left`` does not name.
    """

    sections: tuple[tuple[EmailFacts, ...], ...]
    left: tuple[tuple[EmailFacts, int], ...]
    more: int
    more_topics: int


def shrinking_sizes(count: int) -> Iterator[DigestSize]:
    """Progressively smaller sizes to try until the digest fits: first less text, then fewer updates, at last one."""
    updates = min(count, MOST_SHOWN)
    words = max(LEAST_WORDS, min(MOST_WORDS, ALL_WORDS // updates))
    yield DigestSize(updates, Limits(words))
    while words > LEAST_WORDS:
        words //= 2
        yield DigestSize(updates, Limits(words))
    while updates > 1:
        updates //= 2
        yield DigestSize(updates, Limits(words, name=SHORT_NAME, address=SHORT_ADDRESS))


def digest_contents(entries: Sequence[EmailFacts], updates: int) -> DigestContents:
    """The newest *updates* entries by topic, and what is left out."""
    shown, dropped = entries[-updates:], entries[:-updates]
    sections: dict[str, list[EmailFacts]] = {}
    for one in shown:
        sections.setdefault(one.change_list.link, []).append(one)
    counts = Counter(one.change_list.link for one in dropped)
    latest = {one.change_list.link: one for one in dropped}
    newest_first = sorted(latest.values(), key=lambda one: one.event.id, reverse=True)
    return DigestContents(
        sections=tuple(map(tuple, sections.values())),
        left=tuple((one, counts[one.change_list.link]) for one in islice(newest_first, MOST_LEFT)),
        more=len(dropped),
        more_topics=max(0, len(latest) - MOST_LEFT),
    )
