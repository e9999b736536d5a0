"""What becomes of a head is shown on its commit and told to those whom it concerns, once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import insert, select

from notify.domain.head_ports import Commit, SourceControlUnavailable
from notify.domain.heads import BROKEN, WHOLE, BuildStatus, Fact, Request, RequestState
from notify.domain.stages import STATUSES
from notify.heads.reporter import CommitAndMail
from notify.heads.steps import Steps
from notify.intake.explain import traces
from notify.store.database import Database
from notify.store.heads import queues
from notify.store.outbox import jobs
from notify.store.tables.people import topic_preferences, user_notification_preferences
from notify.store.tables.statuses import commit_statuses
from tests.cli.conftest import Notify, notify  # noqa: F401 - a fixture
from tests.support.doorbell import RecordingDoorbell
from tests.support.remotes import MemorySourceControl
from tests.support.statements import statements
from tests.support.told_heads import OTHER, QUEUE, Story, story_of
from tests.support.wait import until

WAITS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
SUCCESS, FAILURE = BuildStatus.SUCCESS, BuildStatus.FAILURE


def test_a_broken_head_is_told_to_those_whose_commits_are_in_it_and_to_subscribers(story: Story) -> None:
    story.push(author="alice")
    story.validate(BuildStatus.SUCCESS)
    story.push(author="dana")
    sha = story.push(author="forge", merges="bob")
    story.validate(BuildStatus.FAILURE)
    assert sorted(story.told()) == [
        ("head.broken", "bob", "author"),
        ("head.broken", "dana", "author"),
        ("head.broken", "sam", "subscriber"),
    ]
    assert story.shown(sha) == (f"notify/{QUEUE}", "failure")


class Unreadable(MemorySourceControl):
    """A remote whose history cannot be read."""

    def between(self, base: str | None, head: str, *, limit: int) -> Sequence[Commit]:
        raise SourceControlUnavailable(base=base, head=head, limit=limit)


def test_a_broken_head_whose_commits_cannot_be_read_is_told_to_subscribers_in_the_end(database: Database) -> None:
    story = story_of(database, Unreadable)
    sha = story.push(author="dana")
    story.validate(FAILURE)
    assert story.told() == []
    story.world.spend_budget()
    story.world.drain()
    story.worker.fan_out()
    assert story.told() == [("head.broken", "sam", "subscriber")]
    assert story.shown(sha) == (f"notify/{QUEUE}", "failure")
    story.world.stage.stop()


def test_a_recovery_is_told_to_those_who_were_told_that_it_was_broken(story: Story) -> None:
    story.push(author="dana")
    story.validate(BuildStatus.FAILURE)
    sha = story.push(author="bob")
    story.validate(BuildStatus.SUCCESS)
    assert [one for one in story.told() if one[0] == "head.recovered"] == [
        ("head.recovered", "dana", "author"),
        ("head.recovered", "sam", "subscriber"),
    ]
    assert story.shown(sha) == (f"notify/{QUEUE}", "success")
    story.push(author="bob")
    story.validate(BuildStatus.SUCCESS)
    assert len([one for one in story.told() if one[0] == "head.recovered"]) == 2


def test_a_further_red_head_is_told_to_those_whose_commits_are_new_and_to_subscribers(story: Story) -> None:
    story.push(author="alice")
    story.validate(BuildStatus.SUCCESS)
    story.push(author="dana")
    story.push(author="bob")
    first = story.validate(BuildStatus.FAILURE)
    assert story.became(first) == {"dana": "author", "bob": "author", "sam": "subscriber"}
    story.push(author="alice")
    story.push(author="bob")
    second = story.validate(BuildStatus.FAILURE)
    assert story.became(second) == {"alice": "author", "bob": "author", "dana": "already_told", "sam": "subscriber"}
    story.push(author="forge")
    third = story.validate(BuildStatus.TIMED_OUT)
    assert story.became(third) == {**dict.fromkeys(("alice", "bob", "dana"), "already_told"), "sam": "subscriber"}
    story.push(author="forge")
    green = story.validate(BuildStatus.SUCCESS)
    assert story.became(green) == {**dict.fromkeys(("alice", "bob", "dana"), "author"), "sam": "subscriber"}
    story.push(author="dana")
    assert story.became(story.validate(BuildStatus.FAILURE)) == {"dana": "author", "sam": "subscriber"}
    story.push(author="bob")
    assert story.became(story.validate(BuildStatus.SUCCESS)) == {"dana": "author", "sam": "subscriber"}


def test_heads_that_are_fanned_out_together_tell_whom_each_tells_by_itself(story: Story) -> None:
    story.push(author="alice")
    story.validate(SUCCESS)
    ends = []
    for author, status in [
        ("dana", FAILURE),
        ("bob", FAILURE),
        ("forge", SUCCESS),
        ("alice", FAILURE),
        ("bob", SUCCESS),
    ]:
        story.push(author=author)
        ends.append(story.validate(status, fan_out=False))
    story.worker.fan_out()
    assert [story.became(one) for one in ends] == [
        {"dana": "author", "sam": "subscriber"},
        {"bob": "author", "dana": "already_told", "sam": "subscriber"},
        {"bob": "author", "dana": "author", "sam": "subscriber"},
        {"alice": "author", "sam": "subscriber"},
        {"alice": "author", "sam": "subscriber"},
    ]


def test_every_author_of_a_long_range_is_told_though_the_email_shows_a_few(story: Story) -> None:
    story.push(author="alice")
    story.validate(BuildStatus.SUCCESS)
    story.push(author="bob")
    for _ in range(120):
        story.push(author="dana")
    assert story.became(story.validate(BuildStatus.FAILURE)) == {"bob": "author", "dana": "author", "sam": "subscriber"}
    story.push(author="forge")
    again = story.validate(BuildStatus.FAILURE)
    assert story.became(again) == {"bob": "already_told", "dana": "already_told", "sam": "subscriber"}


def test_an_author_who_subscribes_is_told_of_every_red_head(story: Story) -> None:
    story.push(author="sam")
    assert story.became(story.validate(BuildStatus.FAILURE)) == {"sam": "author"}
    for _ in range(2):
        story.push(author="forge")
        assert story.became(story.validate(BuildStatus.FAILURE)) == {"sam": "subscriber"}


@pytest.mark.parametrize("between", [BuildStatus.CANCELLED, BuildStatus.UNEXPECTED_ERROR])
def test_who_pushed_a_head_that_was_not_validated_is_told_at_the_next_red_one(
    story: Story, between: BuildStatus
) -> None:
    story.push(author="alice")
    story.validate(BuildStatus.SUCCESS)
    story.push(author="dana")
    story.validate(BuildStatus.FAILURE)
    story.push(author="bob")
    assert "bob" not in story.became(story.validate(between))
    story.push(author="forge")
    last = story.validate(BuildStatus.FAILURE)
    assert story.became(last) == {"bob": "author", "dana": "already_told", "sam": "subscriber"}


def test_who_was_not_told_of_the_first_red_head_is_told_of_the_next(story: Story) -> None:
    story.push(author="alice")
    story.validate(BuildStatus.SUCCESS)
    story.mute("bob")
    for author in ("alice", "bob", "dana"):
        story.push(author=author)
    first = story.validate(BuildStatus.FAILURE)
    assert story.became(first) == {"alice": "author", "bob": "muted_cl", "dana": "author", "sam": "subscriber"}
    story.mute("bob", muted=False)
    story.worker.execute(
        "UPDATE notify.email_jobs SET status = 'dead', outcome_reason = 'no_such_mailbox', finished_at = now()"
        " WHERE username = 'dana'"
    )
    story.push(author="forge")
    second = story.validate(BuildStatus.FAILURE)
    assert story.became(second) == {"alice": "already_told", "bob": "author", "dana": "author", "sam": "subscriber"}


def test_each_queue_is_told_of_by_itself(story: Story) -> None:
    for queue in (QUEUE, OTHER):
        for _ in range(2):
            story.push(author="dana", queue=queue)
            last = story.validate(BuildStatus.FAILURE, queue=queue)
        assert story.became(last)["dana"] == "author"
    story.push(author="alice", queue=OTHER)
    green = story.validate(BuildStatus.SUCCESS, queue=OTHER)
    assert story.became(green) == {"dana": "author"}


def test_a_rewritten_commit_is_a_new_one(story: Story) -> None:
    story.push(author="dana")
    story.validate(BuildStatus.FAILURE)
    story.push(author="dana", rewrite=True)
    assert story.became(story.validate(BuildStatus.FAILURE)) == {"dana": "author", "sam": "subscriber"}


def test_explain_and_the_notification_say_that_somebody_was_told_before(story: Story, notify: Notify) -> None:  # noqa: F811
    story.push(author="alice")
    story.validate(BuildStatus.SUCCESS)
    for author in ("dana", "forge"):
        story.push(author=author)
        last = story.validate(BuildStatus.FAILURE)
    assert story.became(last)["dana"] == "already_told"
    said = notify("explain", f"queue:{QUEUE}:{last.number}", "dana", "--json").json
    assert (said["told"], said["why"], said["trace"][-1]["rule"]) == (False, "already_told", "role")
    assert [(one["status"], one["why"]) for one in said["notifications"]] == [("skipped", "already_told")]
    with story.world.database.begin() as connection:
        view = jobs.of_event(connection, f"queue:{QUEUE}:{last.number}")
        assert view is not None
        history = traces(connection, [one for one in view.people if one.username == "dana"])
    assert [trace[-1].rule for trace in history.values()] == ["role"]


def test_a_green_head_is_told_to_subscribers_who_switched_that_on(story: Story) -> None:
    story.push(author="dana")
    story.validate(BuildStatus.SUCCESS)
    assert story.told() == []
    with story.world.database.begin() as connection:
        connection.execute(
            insert(user_notification_preferences).values(
                username="sam", event_type_code="queue.head.validated", enabled=True
            )
        )
    story.push(author="dana")
    story.validate(BuildStatus.SUCCESS)
    assert story.told() == [("head.validated", "sam", "subscriber")]


def test_what_could_not_be_validated_is_told_to_operators_and_not_as_broken(story: Story) -> None:
    sha = story.push(author="dana")
    story.validate(BuildStatus.UNEXPECTED_ERROR)
    assert story.told() == [("request.stuck", "olga", "operator")]
    assert story.shown(sha) == (f"notify/{QUEUE}", "error")


@pytest.mark.parametrize("status", [BuildStatus.CANCELLED, BuildStatus.SKIPPED])
def test_a_cancelled_build_is_shown_and_told_to_nobody(story: Story, status: BuildStatus) -> None:
    sha = story.push(author="dana")
    story.validate(status)
    assert story.told() == []
    assert story.shown(sha) == (f"notify/{QUEUE}", "error")


def test_a_head_shows_that_it_is_being_validated(story: Story) -> None:
    sha = story.push(author="dana")
    story.world.queues.ingest(QUEUE)
    story.world.drain()
    assert story.shown(sha) == (f"notify/{QUEUE}", "pending")


def test_a_head_that_waits_is_shown_once(story: Story) -> None:
    story.push(author="dana")
    story.world.queues.ingest(QUEUE)
    story.world.drain()
    waiting = story.push(author="dana")
    story.world.queues.ingest(QUEUE)
    for _ in range(3):
        story.world.drain()
    with story.world.database.begin() as connection:
        row = connection.execute(select(commit_statuses).where(commit_statuses.c.sha == waiting)).one()
    assert (row.state, row.description, row.wanted_version) == ("pending", "Waits to be validated", 1)


def test_a_request_that_is_finished_twice_is_told_once(story: Story) -> None:
    story.push(author="dana")
    id_ = story.validate(BuildStatus.FAILURE)
    before = story.told()
    assert steps_of(story).advance(story.world.get(id_)) is None
    story.worker.fan_out()
    assert story.told() == before != []


def test_a_queue_that_is_muted_mails_nothing(story: Story) -> None:
    with story.world.database.begin() as connection:
        connection.execute(insert(topic_preferences).values(username="dana", topic=f"queue:{QUEUE}", muted=True))
    story.push(author="dana")
    story.validate(BuildStatus.FAILURE)
    assert story.told() == [("head.broken", "sam", "subscriber")]


def test_a_head_costs_few_statements(story: Story) -> None:
    story.push()
    story.validate(BuildStatus.SUCCESS)
    story.push()
    with statements(story.world.database) as sent:
        id_ = story.world.queues.ingest(QUEUE)
        story.world.stage.drain()
        assert len(sent) <= 21
        story.world.end(id_, BuildStatus.FAILURE)
        sent.clear()
        story.world.drain()
        assert len(sent) <= 22


def test_a_late_worker_shows_no_progress_of_a_head_that_is_at_its_end(story: Story) -> None:
    sha = story.push(author="dana")
    read_before = story.world.get(story.world.queues.ingest(QUEUE))
    story.validate(SUCCESS)
    steps_of(story).reporter.progress(read_before)
    assert story.shown(sha) == (f"notify/{QUEUE}", "success")


def test_an_older_head_that_ends_while_a_newer_one_is_told_of_is_no_news(story: Story) -> None:
    story.push(author="dana")
    older = story.world.get(story.world.queues.ingest(QUEUE))
    story.push(author="bob")
    newer = story.world.get(story.world.queues.ingest(QUEUE))
    stores, reporter = story.world.stores, steps_of(story).reporter

    def fact(request: Request) -> Fact:
        return Fact(queue=QUEUE, uri=request.uri, project=WHOLE, degree=BROKEN, request=request.id)

    def end(request: Request) -> None:
        stores.facts.create(fact(request))
        reporter.ended(replace(request, state=RequestState.FAILED), build=None, facts=[fact(request)])

    with ThreadPoolExecutor(1) as pool:
        with story.world.database.begin() as connection:
            queues.lock(connection, QUEUE)  # as a worker that tells of the newer head
            late = pool.submit(end, older)
            until(lambda: late.done() or story.worker.execute(WAITS))
            stores.facts.create(fact(newer))
        late.result()
    story.worker.fan_out()
    assert story.told() == []
    end(newer)
    story.worker.fan_out()
    assert ("head.broken", "bob", "author") in story.told()


def steps_of(story: Story) -> Steps:
    """What another worker of the queue has."""
    return story.world.queues.steps(QUEUE, freed=lambda _: None, checkpoint=lambda _: None)


def test_a_head_of_which_nobody_is_told_wakes_nobody_to_tell(story: Story) -> None:
    story.push()
    world = story.world
    request = world.get(world.queues.ingest(QUEUE))
    queue, doorbell = world.queues.settings[QUEUE], RecordingDoorbell()
    reporter = CommitAndMail(world.database, queue, MemorySourceControl(queue, world.remotes[QUEUE]), doorbell)
    reporter.ended(replace(request, state=RequestState.SUPERSEDED), build=None, facts=())
    assert doorbell.rings == [STATUSES]
