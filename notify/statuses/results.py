"""Records what came of attempts: the targets, their work items, and what it says of the forges. Set by set."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from time import monotonic

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from notify.checkpoints import STATUSES_COMMITTED, STATUSES_WRITTEN, Checkpoint
from notify.domain.breakers import OPENS_AFTER
from notify.domain.claims import Claim, Lane
from notify.domain.forge_answers import CredentialsExpired, Unavailable
from notify.domain.outcomes import INTERNAL_ERROR
from notify.domain.own_events import OwnEvent, status_dead
from notify.domain.ports import Doorbell
from notify.domain.stages import FAN_OUT, STATUSES
from notify.domain.status_outcomes import (
    APPLIED,
    FINAL,
    UNKNOWN_FORGE,
    StatusOutcome,
    Verdict,
    verdict,
    verdict_of_error,
)
from notify.intake.own_events import emit_own
from notify.statuses.call import Answered
from notify.store.database import UNAVAILABLE, Database
from notify.store.outbox import items
from notify.store.outbox.items import ItemOutcome
from notify.store.statuses import applying
from notify.store.statuses.applying import AttemptResult, Target
from notify.work.forges import Forge, Forges, note_fault, note_success
from notify.work.stage import counted

# Of a target that was applied; several updates within this time cost one call.
APPLIED_EVERY = timedelta(seconds=1)
# While an application keeps a target locked.
LOCKED_DELAY = timedelta(seconds=5)
# For how long all targets of a group together are waited for.
LOCKED_SECONDS = 5
LONGEST_WORDS = 250

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An attempt that is to be recorded; ``paused`` is for how long its installation or forge is, because of it."""

    answered: Answered
    verdict: Verdict
    paused: float | None = None


class Recorder:
    """Records groups of attempts, each in a transaction."""

    def __init__(
        self, database: Database, forges: Forges, *, doorbell: Doorbell, rng: Random, checkpoint: Checkpoint
    ) -> None:
        self._database = database
        self._forges = forges
        self._doorbell = doorbell
        self._rng = rng
        self._checkpoint = checkpoint

    def record(self, group: Sequence[Answered]) -> Counter[str]:
        """Record these attempts and settle their items; counts by name. A bug with one of them stops no other."""
        try:
            return self._record(group)
        except UNAVAILABLE:
            raise
        except Exception as error:
            log.exception("status.not_recorded", statuses=[one.target.id for one in group])
            if len(group) == 1:
                return self._give_up(group[0].claim, error)
            return sum((self.record([one]) for one in group), Counter())

    def _give_up(self, claim: Claim, error: Exception) -> Counter[str]:
        outcome = items.later(claim, f"{INTERNAL_ERROR}: {type(error).__name__}", rng=self._rng)
        with self._database.begin() as connection:
            ours = items.settle(connection, STATUSES, [outcome])
            if ours and outcome.lane is Lane.DEAD:
                self.bury(connection, [claim.id])
        return counted([outcome]) if ours else Counter()

    def _record(self, group: Sequence[Answered]) -> Counter[str]:
        called = [one for one in group if one.not_called is None]
        with self._database.begin() as connection:
            paused = self._note(connection, called)
            recorded = [
                Recorded(answered=one, verdict=self.judged(one), paused=paused.get(_installation(one)))
                for one in called
            ]
            postponed = [_postponed(one, self._rng) for one in group if one.not_called is not None]
            items.settle(connection, STATUSES, postponed)
            locked = applying.lock(connection, [one.answered.target.id for one in recorded])
            done = self._settle(connection, [one for one in recorded if one.answered.target.id in locked], locked)
            self._checkpoint(STATUSES_WRITTEN)
        self._checkpoint(STATUSES_COMMITTED)
        done.update(self._record_locked([one for one in recorded if one.answered.target.id not in locked]))
        done["released"] += len(group) - len(called)
        self._ring_for(done)
        return done

    def judged(self, one: Answered) -> Verdict:
        """What the attempt means for its target."""
        if one.fault is not None:
            return verdict(one.fault.meaning, one.claim, rng=self._rng)
        if one.error is not None:
            return verdict_of_error(one.error, one.claim, rng=self._rng)
        return APPLIED

    def end(self, claims: Mapping[int, Claim], unknown: Sequence[Target]) -> Mapping[str, int]:
        """End targets of forges that nobody has configured."""
        dead = Verdict(outcome=StatusOutcome.DEAD, reason=UNKNOWN_FORGE)
        recorded = [
            Recorded(answered=Answered(claim=claims[one.id], target=one, not_called=0.0), verdict=dead)
            for one in unknown
        ]
        with self._database.begin() as connection:
            locked = applying.lock(connection, [one.id for one in unknown])
            done = self._settle(connection, [one for one in recorded if one.answered.target.id in locked], locked)
        done.update(self._record_locked([one for one in recorded if one.answered.target.id not in locked]))
        self._ring_for(done)
        return done

    def bury(self, connection: Connection, ids: Sequence[int]) -> None:
        """Nothing will come of these targets; ``work_items`` says why."""
        dead = applying.bury(connection, ids)
        targets = applying.load(connection, list(dead))
        emit_own(connection, [_event(target, reason=dead[target.id]) for target in targets.values()])

    def _ring_for(self, done: Mapping[str, int]) -> None:
        """Operators are told of what is dead."""
        if done.get("dead"):
            self._doorbell.ring(FAN_OUT)

    def _record_locked(self, recorded: Sequence[Recorded]) -> Counter[str]:
        """
        Record attempts whose targets publishers have locked, once they have ended.

        An attempt whose target stays locked is as good as none: it is repeated later.
        """
        began = monotonic()
        done: Counter[str] = Counter()
        for one in recorded:
            try:
                with self._database.begin() as connection:
                    ids = [one.answered.target.id]
                    locked = applying.lock(connection, ids, wait=monotonic() - began < LOCKED_SECONDS)
                    if locked:
                        done.update(self._settle(connection, [one], locked))
                    else:
                        self._release(connection, one, done)
            except OperationalError:
                with self._database.begin() as connection:
                    self._release(connection, one, done)
        return done

    def _release(self, connection: Connection, one: Recorded, done: Counter[str]) -> None:
        """A target that was deleted by hand is found gone by the next attempt."""
        later = replace(items.released(one.answered.claim), due_in=LOCKED_DELAY.total_seconds())
        done["released"] += len(items.settle(connection, STATUSES, [later]))

    def _settle(self, connection: Connection, recorded: Sequence[Recorded], locked: Mapping[int, int]) -> Counter[str]:
        """Settle the items of these targets, which are locked, and record what was still ours to record."""
        results = {_name(one.answered.claim): _result(one, locked[one.answered.target.id]) for one in recorded}
        outcomes = [_item_outcome(one, results[_name(one.answered.claim)]) for one in recorded]
        ours = items.settle(connection, STATUSES, outcomes)
        applying.record(connection, [result for name, result in results.items() if name in ours])
        late = [one for name, one in results.items() if name not in ours and one.outcome is StatusOutcome.APPLIED]
        applying.record_late(connection, late)
        dead = [
            one
            for one in recorded
            if _is_dead(results[_name(one.answered.claim)]) and _name(one.answered.claim) in ours
        ]
        emit_own(connection, [_event_of(one) for one in dead])
        for one in recorded:
            _tell(one, is_ours=_name(one.answered.claim) in ours)
        return Counter(_COUNTED[result.outcome] for name, result in results.items() if name in ours)

    def _note(self, connection: Connection, called: Sequence[Answered]) -> dict[tuple[str, int | None], float]:
        """Note what the answers say of the forges; for how long installations, or whole forges, are paused."""
        of_forge: dict[str, list[Answered]] = defaultdict(list)
        for one in called:
            of_forge[one.target.forge].append(one)
        paused: dict[tuple[str, int | None], float] = {}
        # In one order, so that two workers do not wait for each other.
        for name, group in sorted(of_forge.items()):
            self._note_forge(connection, self._forges.by_name[name], group, paused)
        return paused

    def _note_forge(
        self,
        connection: Connection,
        forge: Forge,
        group: Sequence[Answered],
        paused: dict[tuple[str, int | None], float],
    ) -> None:
        answered = [one for one in group if one.applied is not None]
        if answered:
            installations = {one.installation for one in answered if one.installation is not None}
            note_success(connection, forge, sorted(installations))
        silent = 0
        noted = set()
        for one in sorted(group, key=_by_installation):
            if one.fault is None:
                continue
            is_silent = isinstance(one.fault.meaning, Unavailable | CredentialsExpired)
            silent += is_silent
            kind = (type(one.fault.meaning), one.fault.installation)
            # A success in the same group was as late as any silence; a forge that says one thing twice says it once.
            if (is_silent and (answered or silent > OPENS_AFTER)) or (not is_silent and kind in noted):
                continue
            noted.add(kind)
            seconds = note_fault(connection, forge, one.fault)
            if seconds is not None:
                paused[_installation(one)] = seconds


_COUNTED = {
    StatusOutcome.APPLIED: "applied",
    StatusOutcome.RETRY: "retried",
    StatusOutcome.RELEASED: "released",
    StatusOutcome.DEAD: "dead",
    StatusOutcome.SKIPPED: "skipped",
}


def _name(claim: Claim) -> items.Attempt:
    return claim.id, claim.attempt


def _installation(one: Answered) -> tuple[str, int | None]:
    return one.target.forge, None if one.fault is None else one.fault.installation


def _by_installation(one: Answered) -> int:
    return (one.fault.installation if one.fault is not None else None) or 0


def _postponed(one: Answered, rng: Random) -> ItemOutcome:
    """Due when the forge may be asked again, a little jittered; in its old place if nothing stands against it."""
    outcome = items.released(one.claim)
    return replace(outcome, due_in=one.not_called * rng.uniform(1.0, 1.1)) if one.not_called else outcome


def _result(one: Recorded, wanted: int) -> AttemptResult:
    answered, fault = one.answered, one.answered.fault
    applied = answered.applied
    return AttemptResult(
        id=answered.target.id,
        attempt=answered.claim.attempt,
        version=answered.target.version,
        outcome=one.verdict.outcome,
        is_final=one.verdict.outcome in FINAL and wanted == answered.target.version,
        state=answered.target.state,
        reason=one.verdict.reason,
        remote_id=None if applied is None else applied.remote_id,
        repository=None if applied is None else applied.repository,
        labelled=answered.labelled,
        request=None if fault is None else fault.request[:LONGEST_WORDS],
        code=None if fault is None else fault.status,
        text=_words(answered)[:LONGEST_WORDS] or None,
        took_ms=round(answered.took * 1000),
    )


def _item_outcome(one: Recorded, result: AttemptResult) -> ItemOutcome:
    """Done, dead, or due again: also when something newer is wanted by now."""
    claim, verdict = one.answered.claim, one.verdict
    if result.is_final:
        return items.dead(claim, verdict.reason or "") if verdict.outcome is StatusOutcome.DEAD else items.done(claim)
    if verdict.outcome in FINAL:
        return replace(items.released(claim), due_in=APPLIED_EVERY.total_seconds())
    seconds = verdict.delay.total_seconds() if one.paused is None else one.paused
    return replace(items.released(claim), due_in=seconds, failed=int(verdict.failed), reason=verdict.reason)


def _is_dead(result: AttemptResult) -> bool:
    return result.is_final and result.outcome is StatusOutcome.DEAD


def _event_of(one: Recorded) -> OwnEvent:
    words = _words(one.answered)
    return _event(one.answered.target, reason=one.verdict.reason or "", words=words)


def _event(target: Target, *, reason: str, words: str = "") -> OwnEvent:
    return status_dead(
        target.id,
        target.version,
        forge=target.forge,
        repository=target.repository,
        sha=target.sha,
        context=target.context,
        reason=reason.partition(":")[0],
        words=words,
    )


def _words(answered: Answered) -> str:
    return getattr(answered.fault.meaning, "words", "") if answered.fault is not None else ""


def _tell(one: Recorded, *, is_ours: bool) -> None:
    """One line for everything but what was applied as it should be."""
    if one.verdict.outcome is StatusOutcome.APPLIED and is_ours:
        return
    fault = one.answered.fault
    log.info(
        "status.settled",
        status=one.answered.target.id,
        attempt=one.answered.claim.attempt,
        outcome=one.verdict.outcome if is_ours else f"{one.verdict.outcome}, too late",
        reason=one.verdict.reason,
        code=None if fault is None else fault.status,
    )
