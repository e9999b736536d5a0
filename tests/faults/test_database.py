"""The database goes away at the worst moments: outcomes wait, nothing is lost, and nothing is counted twice."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.proxy import CommitAfter, Flow, Proxy, database_target, through
from tests.support.scene import Scene
from tests.support.smtp import DOT, ScriptedRelay
from tests.support.wait import until

TWO_LEASES_LATER = "SELECT now() > max(created_at) + interval '4 seconds' FROM notify.email_jobs"


@pytest.fixture
def line(scene: Scene) -> Iterator[Proxy]:
    """The workers' line to the database, which may be cut; the test has another."""
    url = scene.environment["NOTIFY_DATABASE_URL"]
    with Proxy(database_target(url)) as proxy:
        scene.environment["NOTIFY_DATABASE_URL"] = through(proxy, url)
        yield proxy


def test_an_email_whose_outcome_was_committed_unheard_is_counted_once(scene: Scene, line: Proxy) -> None:
    line.cut_the_reply_to(CommitAfter(b"delivery_stats"))
    with scene.loner():
        scene.emit("ann")
        scene.until_all_ended()
        assert line.sprung.wait(60)

    assert scene.check().repeated == 0
    assert scene.tables().verdicts == {"sent": 1}


def test_an_event_whose_fan_out_was_committed_unheard_tells_nobody_twice(scene: Scene, line: Proxy) -> None:
    line.cut_the_reply_to(CommitAfter(b"INTO notify.email_jobs"))
    with scene.loner():
        scene.emit("ann", "bob")
        scene.until_all_ended()
        assert line.sprung.wait(60)

    assert scene.check().repeated == 0


@pytest.mark.parametrize(
    "cut", [Proxy.reset, Proxy.refuse, lambda line: line.block(*Flow)], ids=["reset", "gone", "black hole"]
)
def test_an_outcome_waits_for_a_database_that_is_away_and_no_email_is_repeated(
    scene: Scene, relay: ScriptedRelay, line: Proxy, cut: Callable[[Proxy], None]
) -> None:
    on_its_way = relay.hold(DOT)
    with scene.loner():
        scene.emit("ann")
        on_its_way.wait_until_reached()
        cut(line)
        on_its_way.release()
        until(lambda: scene.office().now(TWO_LEASES_LATER) == [(True,)])
        line.heal()
        line.reset()
        scene.until_all_ended(seconds=90)

    assert scene.check().repeated == 0
