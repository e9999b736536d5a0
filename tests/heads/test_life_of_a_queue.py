"""The life of a queue as a state machine: whatever happens, and wherever a process ends, the tables stay true."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from typing import NoReturn, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from notify.domain.forge_settings import CommandRunner, QueueSettings
from notify.domain.head_ports import NotFound, RunnerRefused, SourceControl, SourceControlUnavailable, Stores
from notify.domain.heads import (
    GREEN,
    WHOLE,
    BuildStatus,
    Fact,
    Head,
    ProjectResult,
    Request,
    RequestId,
    RequestState,
    Strategy,
)
from notify.heads.ingest import ingest
from notify.heads.retry import CannotRetry, retry
from notify.heads.steps import Steps, record_build
from tests.support.head_peers import Fuse, Killed, MemoryReporter, MemoryRunner, fused
from tests.support.head_stores import (
    BuildsInMemory,
    CountersInMemory,
    FactsInMemory,
    QueuesInMemory,
    RequestsInMemory,
    UrisInMemory,
)
from tests.support.remotes import MemoryRemote, MemorySourceControl

NAME, MAIN, GREEN_REF = "monorepo/main", "refs/heads/main", "refs/heads/green"
ENDS = [one for one in BuildStatus if one.is_final]
FUSES = st.none() | st.integers(0, 40)
DEGREES = st.sampled_from([0.0, 0.5, 1.0])


class _Away:
    """Source control that does not answer."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        def call(*_: object, **__: object) -> NoReturn:
            raise SourceControlUnavailable(call=name)

        return call


class LifeOfAQueue(RuleBasedStateMachine):
    """A remote, one queue, and processes that end at any call."""

    @initialize(most=st.integers(1, 3))
    def begin(self, most: int) -> None:
        self.queue = QueueSettings(
            name=NAME,
            forge="github",
            repository="acme/monorepo",
            ref=MAIN,
            remote="memory",
            runner=CommandRunner(command=("true",)),
            promotion_ref=GREEN_REF,
            max_concurrent=most,
        )
        self.remote = MemoryRemote()
        self.source, self.is_away = MemorySourceControl(self.queue, self.remote), False
        self.runner, self.reporter = MemoryRunner(), MemoryReporter()
        self.requests, self.uris, self.queues = RequestsInMemory(), UrisInMemory(), QueuesInMemory()
        self.builds, self.facts = BuildsInMemory(), FactsInMemory()
        self.stores = Stores(
            requests=self.requests,
            uris=self.uris,
            queues=self.queues,
            builds=self.builds,
            facts=self.facts,
            counters=CountersInMemory(),
        )
        self.work: set[RequestId] = set()  # what has a work item
        self.read: list[Request] = []  # what a slow process has read once
        self.known_facts: dict[tuple[str, str, str], Fact] = {}
        self.last_green = 0
        self.push(0)

    @rule(back=st.integers(0, 3))
    def push(self, back: int) -> None:
        """A new head on top of an older one: further back, history is rewritten."""
        present = self.remote.ref(MAIN)
        for _ in range(back):
            parents = self.remote.commits[present].parents if present else ()
            present = parents[0] if parents else present
        self.remote.point(MAIN, self.remote.commit("change", *([present] if present else [])))

    @rule()
    def git_goes_away_or_comes_back(self) -> None:
        self.is_away = not self.is_away

    @rule(fuse=FUSES)
    def take_in(self, fuse: int | None) -> None:
        stores = self._stores(Fuse(fuse))
        with suppress(Killed, SourceControlUnavailable):
            id_ = ingest(NAME, queues={NAME: self.queue}, source_of=lambda _: self._reached(), stores=stores)
            taken_in = self.requests.get(id_)
            assert taken_in.uri == self.source.latest()
            assert not taken_in.is_replaceable or id_.number == self.queues.get(NAME).latest_request_id
        self._note_requests()

    @precondition(lambda self: self._replaceable())
    @rule(data=st.data(), fuse=FUSES)
    def come_back(self, data: st.DataObject, fuse: int | None) -> None:
        """The ref is forced back to a head of which nothing was found out."""
        request = self.requests.get(data.draw(st.sampled_from(self._replaceable())))
        self.remote.point(MAIN, Head.parse(request.uri).sha)
        self.take_in(fuse)

    def _replaceable(self) -> list[RequestId]:
        return sorted(id_ for id_, one in self.requests.rows.items() if one.is_replaceable)

    @rule(fuse=FUSES)
    def retry(self, fuse: int | None) -> None:
        """An operator has the head validated again, if nothing was found out about it."""
        before = dict(self.requests.rows)
        stores = self._stores(Fuse(fuse))
        with suppress(Killed, SourceControlUnavailable, CannotRetry):
            id_ = retry(NAME, queues={NAME: self.queue}, source_of=lambda _: self._reached(), stores=stores)
            assert self.requests.get(id_).uri == self.source.latest()
        assert all(self.requests.get(id_) == one for id_, one in before.items())
        self._note_requests()

    def _note_requests(self) -> None:
        # A request is created with its work item in one statement.
        self.work |= {id_ for id_, one in self.requests.rows.items() if not one.state.is_final} - self._settled
        self.read += [one for one in self.requests.rows.values() if one not in self.read][:2]

    @property
    def _settled(self) -> set[RequestId]:
        return set(self.reporter.ends)

    @precondition(lambda self: self.work)
    @rule(data=st.data(), fuse=FUSES)
    def advance(self, data: st.DataObject, fuse: int | None) -> None:
        self._work_on(self.requests.get(data.draw(st.sampled_from(sorted(self.work)))), fuse)

    @precondition(lambda self: self.read)
    @rule(data=st.data(), fuse=FUSES)
    def advance_late(self, data: st.DataObject, fuse: int | None) -> None:
        """A process that was away acts on what it read long ago."""
        self._work_on(data.draw(st.sampled_from(self.read)), fuse, settles=False)

    @precondition(lambda self: self.runner.builds)
    @rule(data=st.data(), status=st.sampled_from(ENDS), degrees=st.lists(DEGREES, max_size=2))
    def end_build(self, data: st.DataObject, status: BuildStatus, degrees: list[float]) -> None:
        build = data.draw(st.sampled_from(sorted(self.runner.builds)))
        self.runner.end(build, status, *(ProjectResult(f"p{number}", one) for number, one in enumerate(degrees)))

    @precondition(lambda self: self.builds.rows)
    @rule(data=st.data(), status=st.sampled_from(ENDS))
    def tell_end(self, data: st.DataObject, status: BuildStatus) -> None:
        """The runner pushes a result, which may be another than the one it answers when asked."""
        known = self.builds.rows[data.draw(st.sampled_from(sorted(self.builds.rows)))]
        if not known.status.is_final:
            stored = record_build(self.stores, replace(known, status=status))
            assert stored.status is status

    @precondition(lambda self: self.runner.builds)
    @rule(data=st.data())
    def lose_build(self, data: st.DataObject) -> None:
        self.runner.lose(data.draw(st.sampled_from(sorted(self.runner.builds))))

    @precondition(lambda self: self.work)
    @rule(data=st.data(), fuse=FUSES)
    def spend_retries(self, data: st.DataObject, fuse: int | None) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.work)))
        self._fail(self.requests.get(id_), fuse)

    @invariant()
    def facts_never_change(self) -> None:
        for key, fact in self.known_facts.items():
            assert self.facts.rows[key] == fact
        self.known_facts = dict(self.facts.rows)

    @invariant()
    def slots_are_within_bounds(self) -> None:
        assert len(self.queues.get(NAME).in_flight) <= self.queue.max_concurrent

    @invariant()
    def the_last_green_head_moves_forward_only(self) -> None:
        queue = self.queues.get(NAME)
        assert (queue.last_green_request_id or 0) >= self.last_green
        self.last_green = queue.last_green_request_id or 0
        if queue.last_green_uri is not None:
            assert self.facts.rows[NAME, queue.last_green_uri, WHOLE].degree == GREEN

    @invariant()
    def each_head_has_one_request_of_which_something_may_be_found_out(self) -> None:
        newest = {one.uri: id_ for id_, one in sorted(self.requests.rows.items())}
        for id_, one in self.requests.rows.items():
            assert id_ == newest[one.uri] or one.is_replaceable
            # A claim may be ahead of its row.
            assert self.uris.rows[NAME, one.uri] == newest[one.uri] or (
                self.uris.rows[NAME, one.uri] not in self.requests.rows
                and self.requests.get(newest[one.uri]).is_replaceable
            )

    @invariant()
    def nothing_is_built_incrementally_over_rewritten_history(self) -> None:
        for one in self.requests.rows.values():
            if one.strategy is Strategy.INCREMENTAL:
                assert one.base_uri is not None
                assert self.source.is_ancestor(one.base_uri, one.uri)

    @invariant()
    def one_end_is_told_of_each_request(self) -> None:
        for id_, told in self.reporter.ends.items():
            (end,) = told
            request = self.requests.get(id_)
            assert end.state is request.state
            green = any(project == WHOLE and degree == GREEN for project, degree in end.facts)
            assert (end.state is RequestState.SUCCEEDED) == green

    def teardown(self) -> None:
        """Without further mishaps everything comes to its end."""
        if not hasattr(self, "work"):
            return
        self.is_away = False
        self.push(0)
        self.take_in(None)
        for _ in range(4 * len(self.requests.rows) + 4):
            for id_ in sorted(self.work):
                self._work_on(self.requests.get(id_), None)
            for build in list(self.runner.builds):
                self.runner.end(build, BuildStatus.SUCCESS)
        assert not self.work
        assert self.queues.get(NAME).in_flight == frozenset()
        assert set(self.reporter.ends) == set(self.requests.rows)
        assert all(one.state.is_final for one in self.requests.rows.values())
        succeeded = [id_.number for id_, one in self.requests.rows.items() if one.state is RequestState.SUCCEEDED]
        assert self.queues.get(NAME).last_green_request_id == (max(succeeded) if succeeded else None)
        newest = max(self.requests.rows)
        assert self.queues.get(NAME).latest_request_id == newest.number
        self.facts_never_change()
        self.one_end_is_told_of_each_request()
        if self.requests.get(newest).state is RequestState.SUCCEEDED:
            assert self.remote.ref(GREEN_REF) == Head.parse(self.requests.get(newest).uri).sha == self.remote.ref(MAIN)

    def _work_on(self, request: Request, fuse: int | None, *, settles: bool = True) -> None:
        steps = self._steps(Fuse(fuse))
        try:
            again = steps.advance(request)
        except (Killed, SourceControlUnavailable):
            return
        except (RunnerRefused, NotFound):
            self._fail(self.requests.get(request.id), None)
            return
        if again is None and settles:
            self.work.discard(request.id)

    def _fail(self, request: Request, fuse: int | None) -> None:
        try:
            self._steps(Fuse(fuse)).fail_closed(request)
        except Killed:
            return
        self.work.discard(request.id)
        self._runs_nowhere(request.id)

    def _runs_nowhere(self, id_: RequestId) -> None:
        """No build of this request that is known goes on."""
        for build in self.builds.rows.values():
            at_runner = self.runner.builds.get(build.id)
            assert build.request != id_ or build.status.is_final or at_runner is None or at_runner.status.is_final

    def _steps(self, fuse: Fuse) -> Steps:
        return Steps(
            queue=self.queue,
            stores=self._stores(fuse),
            source=fused(self._reached(), fuse),
            runner=fused(self.runner, fuse),
            reporter=fused(self.reporter, fuse),
            freed=fuse.burn,
            checkpoint=fuse.burn,
        )

    def _reached(self) -> SourceControl:
        return cast("SourceControl", _Away()) if self.is_away else self.source

    def _stores(self, fuse: Fuse) -> Stores:
        return Stores(**{one.name: fused(getattr(self.stores, one.name), fuse) for one in fields(Stores)})


TestLifeOfAQueue = LifeOfAQueue.TestCase
TestLifeOfAQueue.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
