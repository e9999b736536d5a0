"""
The whole story: ten pushes with every kind of end, while webhooks go astray and workers are killed.

At the end every inbox, every commit's statuses, the facts and the green ref are as a model says that knows only who
pushed what, and what should become of it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import pytest

from notify import checkpoints, wiring
from notify.embedded.forge.hooks import Trouble
from notify.store.database import Database
from tests.support.command_queue import GREEN_REF, QUEUE
from tests.support.heads_story import (
    MERGE_IS_KNOWN,
    OPEN,
    OPERATOR,
    SUBSCRIBER,
    Email,
    End,
    KilledNowAndThen,
    OneAfterTheOther,
    Push,
    Story,
    heads_story,
)
from tests.support.remotes import needs_git
from tests.support.smtp import ScriptedRelay

pytestmark = needs_git

FEW_KILLS = (checkpoints.HEADS_FAILED,)
# In the order in which the story comes to them; no work item lapses three times.
MANY_KILLS = (
    checkpoints.HEADS_URI_CLAIMED,
    checkpoints.HEADS_PROCESSING,
    checkpoints.HEADS_BUILD_RECORDED,
    checkpoints.FAN_OUT_WRITTEN,
    checkpoints.INBOX_CLAIMED,
    checkpoints.HEADS_TOLD,
    checkpoints.HEADS_CANCELLED,
    checkpoints.HEADS_GREEN_RECORDED,
    checkpoints.STATUSES_ANSWERED,
    checkpoints.INBOX_WRITTEN,
    checkpoints.HEADS_SUPERSEDED,
    checkpoints.HEADS_SLOT_RELEASED,
    checkpoints.HEADS_TOLD,
    checkpoints.HEADS_PROMOTED,
)
DEGREES = {End.GREEN: 0, End.RED: 1}
SHOWN = {End.GREEN: "success", End.RED: "failure"}
MERGED: Email = ("dana", "cl.merged", "author")


def emails_about(pushes: Sequence[Push]) -> Counter[Email]:
    """The emails that these heads bring, whose ends came in their order."""
    emails: Counter[Email] = Counter()
    news: set[str] = set()  # whose commits came since the last verdict
    told: set[str] = set()  # who was told since the last green head that it is broken
    for one in pushes:
        news.add(one.author)
        match one.end:
            case End.RED:
                emails.update((name, "queue.head.broken", "author") for name in news)
                emails[SUBSCRIBER, "queue.head.broken", "subscriber"] += 1
                told, news = told | news, set()
            case End.GREEN:
                kind = "queue.head.recovered" if told else "queue.head.validated"
                emails.update((name, kind, "author") for name in told)
                emails[SUBSCRIBER, kind, "subscriber"] += 1
                told, news = set(), set()
            case End.FORCED:
                emails[OPERATOR, "queue.request.stuck", "operator"] += 1
            case End.CANCELLED | End.SUPERSEDED:
                pass
    return emails


def a_queue_breaks_and_recovers(story: Story) -> str:
    """Five pushes, one after the other; the second broken head."""
    story.push("first", End.GREEN, by="alice")
    story.until_ended()
    with story.webhooks(Trouble(times=3)):
        story.push("broken", End.RED, by="bob")
    story.until_ended()
    with story.webhooks(Trouble(drop=True)):
        still_red = story.push("broken still", End.RED, by="carol")
    story.redeliver()
    story.until_ended()
    with story.webhooks(Trouble(drop=True)):
        story.push("cancelled", End.CANCELLED, by="dana")
    story.look()
    story.until_ended()
    with story.webhooks(Trouble(wrong_signature=True)):
        story.push("fixed", End.GREEN, by="alice")
    story.look()
    story.until_ended()
    return still_red


def heads_come_while_another_is_built(story: Story) -> None:
    """A merge is built slowly. The first head after it is overtaken, and the build of the second is lost."""
    with story.webhooks(Trouble(reverse=True)):
        slow = story.merge("broken and slow", End.RED, author="dana", by="bob")
        story.look()
        story.until_is("processing", slow)
        overtaken = story.push("overtaken", End.SUPERSEDED, by="carol")
    story.until_is("accepted", overtaken)
    lost = story.push("lost", End.FORCED, by="alice")
    story.until_is("accepted", lost)
    story.until(lambda: story.forge.rows(MERGE_IS_KNOWN))
    story.gate.touch()
    story.until_ended()


def git_goes_away(story: Story) -> None:
    story.workers.kill()
    story.push("out of reach", End.FORCED, by="bob")
    wiring.ingest(story.forge.settings, story.forge.worker.database)(QUEUE)
    with story.git_away():
        story.until_ended()


def history_is_rewritten(story: Story, *, onto: str) -> str:
    """The last green head is gone from it, and the green ref is at a commit that was never there; the new head."""
    story.remote.point(GREEN_REF, story.remote.commit("somebody else's"))
    with story.webhooks(Trouble(drop=True)):
        head = story.push("rewritten", End.GREEN, by="carol", onto=onto)
    story.redeliver()
    story.until_ended()
    return head


def tell(story: Story) -> None:
    """All ten pushes, and what is as it should be at the end."""
    still_red = a_queue_breaks_and_recovers(story)
    heads_come_while_another_is_built(story)
    git_goes_away(story)
    last = history_is_rewritten(story, onto=still_red)
    story.until(lambda: not story.forge.rows(OPEN))
    check(story, last=last)


@pytest.mark.parametrize("kills", [FEW_KILLS, pytest.param(MANY_KILLS, marks=pytest.mark.slow)], ids=["few", "many"])
def test_ten_pushes_end_as_they_should_whatever_goes_astray(
    database: Database, relay: ScriptedRelay, environment: Mapping[str, str], tmp_path: Path, kills: Sequence[str]
) -> None:
    with heads_story(database, environment, relay, tmp_path, kills=kills) as story:
        tell(story)
        assert isinstance(story.workers, OneAfterTheOther)
        assert not story.workers.points


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ten_pushes_end_as_they_should_while_one_of_two_workers_is_killed_now_and_then(
    database: Database, relay: ScriptedRelay, environment: Mapping[str, str], tmp_path: Path, seed: int
) -> None:
    with heads_story(database, environment, relay, tmp_path, kills=Random(seed)) as story:
        tell(story)
        assert isinstance(story.workers, KilledNowAndThen)
        assert story.workers.killed >= len(story.pushes) // 2


def check(story: Story, *, last: str) -> None:
    """
    Everything is as it should be at the end.

    Args:
        last: The last green head.
    """
    ends = {one.sha: one.end for one in story.pushes}
    states = story.by_head("SELECT uri, CASE WHEN forced THEN 'forced' ELSE state END FROM notify.requests")
    assert states == sorted(ends.items())
    assert story.emails() == emails_about(story.pushes) + Counter({MERGED: 1})
    shown = story.shown()
    assert {sha: states[-1] for sha, states in shown.items()} == {
        sha: SHOWN.get(end, "error") for sha, end in ends.items()
    }
    assert {sha for sha, states in shown.items() if "success" in states} == {
        sha for sha, end in ends.items() if end is End.GREEN
    }
    assert story.by_head("SELECT uri, degree FROM notify.facts") == sorted(
        (sha, DEGREES[end]) for sha, end in ends.items() if end in DEGREES
    )
    assert story.by_head("SELECT last_green_uri, in_flight_count FROM notify.queues") == [(last, 0)]
    assert (last, "full") in story.by_head("SELECT uri, build_strategy FROM notify.requests")
    assert story.remote.ref(GREEN_REF) == last
