"""A webhook and a sweep that race on one change end the same in every order of their steps."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import text

from notify.embedded.forge.server import EmbeddedForge
from notify.embedded.forge.state import ForgeState
from notify.store.database import Database
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness
from tests.support.smtp import ScriptedRelay
from tests.support.turns import FORGE, every_order

Act = Callable[[ForgeState, int], object]
Email = tuple[str, str, str]

INBOX, SWEEP = 0, 1
MANY = 9
BEGAN = timedelta(hours=30)
BETWEEN_RUNS = timedelta(minutes=5)


def comment(state: ForgeState, number: int) -> None:
    state.comment(REPOSITORY, number, by="carol", body="Why?")


def request(state: ForgeState, number: int) -> None:
    state.request_review(REPOSITORY, number, by="alice", logins=["carol"])


def push(state: ForgeState, number: int) -> None:
    state.push(REPOSITORY, f"topic-{number}", by="alice")


def merge(state: ForgeState, number: int) -> None:
    state.merge(REPOSITORY, number, by="dana")


OPENED = [("bob", "cl.created", "reviewer"), ("bob", "cl.review.requested", "requested")]
COMMENTED = [("alice", "cl.comment.created", "author"), ("bob", "cl.comment.created", "reviewer")]
REQUESTED = [("carol", "cl.created", "reviewer"), ("carol", "cl.review.requested", "requested")]
PUSHED = [("bob", "cl.updated", "reviewer")]
MERGED = [("alice", "cl.merged", "author"), ("bob", "cl.merged", "reviewer")]


@pytest.fixture
def sources(database: Database, relay: ScriptedRelay, tmp_path: Path) -> Iterator[ForgeHarness]:
    with forge_harness(database, relay.url, tmp_path) as made:
        yield made


@pytest.fixture
def forge(sources: ForgeHarness) -> EmbeddedForge:
    return sources.forge


class Races:
    """
    Races on a change of their own each, so that all emails can be sent at the end.

    Each is some minutes after the one before it, by the forge's clock, so that its sweep reads no other change.
    """

    def __init__(self, sources: ForgeHarness) -> None:
        self._sources = sources
        self._numbers = count(1)
        sources.worker.execute("UPDATE notify.forge_repositories SET first_swept_at = now() - interval '3 days'")

    def open(self, acts: Sequence[Act]) -> int:
        """A change that the mirror knows with its reviewer, and on which this has happened since."""
        number = next(self._numbers)
        late, state = BEGAN - BETWEEN_RUNS * number, self._sources.forge.state
        self._sources.clock.set(late=late)
        self._swept(late=late)
        state.open_pull(REPOSITORY, by="alice", title=f"Change {number}", head=f"topic-{number}")
        state.request_review(REPOSITORY, number, by="alice", logins=["bob"])
        self._sources.take_webhooks()
        self._sources.worker.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'reconcile'")
        for act in acts:
            self.act(act, number)
        return number

    def act(self, act: Act, number: int) -> None:
        """Something happens on the forge, and its webhook arrives; that of a branch concerns no change."""
        act(self._sources.forge.state, number)
        assert self._sources.forge.hooks.wait()
        self._sources.worker.execute(
            "DELETE FROM notify.work_items AS item USING notify.webhook_deliveries AS given"
            " WHERE item.stage = 'inbox' AND item.id = given.id AND given.event = 'push'"
        )

    def sweep_all(self) -> None:
        """Read every change once more."""
        self._swept(late=BEGAN)
        assert self._sources.sweep()["swept"] == 1

    def _swept(self, *, late: timedelta) -> None:
        with self._sources.worker.database.begin() as connection:
            connection.execute(
                text("UPDATE notify.forge_repositories SET swept_at = now() - :late, etag = NULL"), {"late": late}
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "meanwhile", "commits_apart", "told"),
    [
        pytest.param([comment], push, INBOX, [*OPENED, *COMMENTED, *PUSHED], id="push-after-comment"),
        pytest.param([request], comment, SWEEP, [*OPENED, *REQUESTED, *COMMENTED], id="comment-after-request"),
        pytest.param([push], merge, None, [*OPENED, *PUSHED, *MERGED], id="merge-after-push"),
        pytest.param([comment, request], None, None, [*OPENED, *COMMENTED, *REQUESTED], id="two-webhooks"),
    ],
)
def test_a_webhook_and_a_sweep_end_the_same_whatever_the_order_of_their_steps(
    sources: ForgeHarness,
    forge: EmbeddedForge,
    database: Database,
    before: Sequence[Act],
    meanwhile: Act | None,
    commits_apart: int | None,
    told: Sequence[Email],
) -> None:
    races = Races(sources)
    orders = every_order(
        database,
        (sources.inbox.drain, sources.reconciler.drain),
        prepare=partial(races.open, before),
        meanwhile=partial(races.act, meanwhile) if meanwhile else None,
        commits_apart=commits_apart,
    )
    said = {}
    for number, steps in orders:
        said[number] = of_forge(forge, number)
        if was_asked_afterwards(steps):
            assert mirror(sources)[number] == said[number], steps
    assert len(said) > MANY
    sources.take_webhooks()
    assert mirror(sources) == said
    races.sweep_all()
    assert mirror(sources) == said
    sources.deliver()
    assert emails(sources) == dict.fromkeys(said, sorted(told))


def was_asked_afterwards(steps: Sequence[str]) -> bool:
    """Whether a worker asked the forge after the last thing that happened there."""
    return FORGE not in steps or len(set(steps[: steps.index(FORGE)])) == 1


def emails(sources: ForgeHarness) -> dict[int, list[Email]]:
    """The emails about each change, sorted: to whom, the event's type, the reason."""
    found = defaultdict(list)
    for topic, *email in sources.rows(
        "SELECT event.topic, note.username, note.event_type, note.reason FROM notify.notifications AS note"
        " JOIN notify.events AS event ON event.id = note.event_id"
        " JOIN notify.email_jobs AS job ON job.id = note.email_job_id WHERE job.status = 'sent'"
    ):
        found[int(topic.partition("#")[2])].append(tuple(email))
    return {number: sorted(about) for number, about in found.items()}


def mirror(sources: ForgeHarness) -> dict[int, object]:
    """What mirror and directory say of each change."""
    found = sources.rows(
        """
        SELECT number, change.title, change.state, change.author, head_sha, merge_sha, stale, known.title, known.state,
            known.author,
            ARRAY(SELECT login FROM notify.forge_reviewers AS one WHERE one.number = change.number
                AND one.repository_id = change.repository_id AND requested ORDER BY login),
            ARRAY(SELECT username FROM notify.cl_reviewers AS one WHERE one.topic = known.link ORDER BY username)
        FROM notify.forge_changes AS change JOIN notify.change_lists AS known USING (link)
        """
    )
    return {row[0]: tuple(row[1:]) for row in found}


def of_forge(forge: EmbeddedForge, number: int) -> object:
    """What they must say, by what the forge has."""
    pull = forge.state.repository(REPOSITORY).pulls[number]
    state = "merged" if pull.merged_at else pull.state
    reviewers = sorted(pull.reviewers)
    said = (pull.title, state, pull.login)
    return (*said, pull.head_sha, pull.merge_commit, False, *said, reviewers, reviewers)
