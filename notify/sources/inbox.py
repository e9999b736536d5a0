"""The inbox: stores webhook deliveries; later reads each change from the forge and hands in its event."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from random import Random

import structlog
from sqlalchemy import Connection

from notify.checkpoints import INBOX_ASKED, INBOX_COMMITTED, INBOX_WRITTEN, Checkpoint, no_checkpoint
from notify.domain.claims import Claim
from notify.domain.errors import MalformedEvent
from notify.domain.forge import (
    ChangeReading,
    ChangeTouched,
    ForgeEvent,
    Ignored,
    Ping,
    Push,
    Repository,
    RepositoryMoved,
    Reviewer,
    RunEnded,
    Unreadable,
)
from notify.domain.forge_answers import ForgeFault
from notify.domain.forge_events import is_own
from notify.domain.forge_settings import QueueSettings
from notify.domain.heads import RequestId
from notify.domain.outcomes import DeliveryStatus
from notify.domain.ports import Doorbell
from notify.domain.stages import FAN_OUT, HEADS, INBOX
from notify.sources.mirror import Mirror, NameTaken, mirror_of
from notify.store.database import Database
from notify.store.forges import deliveries, repositories
from notify.store.forges.deliveries import Delivery, NewDelivery, Result
from notify.store.heads import polls, requests
from notify.store.outbox import items
from notify.store.outbox.items import ItemOutcome
from notify.work.forges import Forge, ForgeNotAsked, Forges
from notify.work.stage import settle_failed

UNREADABLE = "unreadable"
UNKNOWN_FORGE = "unknown_forge"
NO_REQUEST = "no_request"
MALFORMED = "malformed"
LONGEST_ID = 200
LONGEST_REASON = 250

log = structlog.get_logger(__name__)


def new_delivery(forge: Forge, headers: Mapping[str, str], body: bytes) -> NewDelivery:
    """
    A delivery whose signature is valid, identified by the forge's id or else by a hash of its body.

    The id is not signed. One that is longer than any forge's is ignored, so that every delivery can be stored.

    Args:
        headers: Names are in lower case.
    """
    stated = forge.parser.delivery_id(headers)
    return NewDelivery(
        forge=forge.name,
        delivery_id=stated if stated and len(stated) <= LONGEST_ID else f"sha256:{sha256(body).hexdigest()}",
        event=forge.parser.event_name(headers) or "",
        content_type=headers.get("content-type", ""),
        body=body,
    )


class Inbox:
    """Processes deliveries, each in its own transactions. None is open during a call to a forge."""

    name = INBOX
    ordered = False
    counts = ("told", "ignored")

    def __init__(
        self,
        database: Database,
        forges: Forges,
        *,
        doorbell: Doorbell,
        rng: Random,
        queues: Collection[QueueSettings] = (),
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        """
        Args:
            queues: Whose refs are looked at as soon as somebody pushes to them, and whose builds as soon as they end.
        """
        self._queues = queues
        self._database = database
        self._forges = forges
        self._doorbell = doorbell
        self._rng = rng
        self._checkpoint = checkpoint

    def work(self, claims: Sequence[Claim]) -> Mapping[str, int]:
        """Work off these deliveries; each is loaded by itself, since its body may be large."""
        done: Counter[str] = Counter()
        for claim in claims:
            with self._database.begin() as connection:
                delivery = deliveries.load(connection, claim.id)
            if delivery is None:  # deleted by hand
                self._settle(items.done(claim))
                continue
            try:
                done.update(self._work_off(claim, delivery))
            except MalformedEvent as error:
                done.update(self._die(claim, f"{MALFORMED}: {error}"))
            except NameTaken as taken:
                done.update(self._die(claim, str(taken)))
        if done["told"]:
            self._doorbell.ring(FAN_OUT)
        return done

    def bury(self, connection: Connection, ids: Sequence[int]) -> None:
        """Mark these deliveries as dead."""
        deliveries.bury(connection, ids)

    def _work_off(self, claim: Claim, delivery: Delivery) -> Mapping[str, int]:  # noqa: PLR0911 - a line a case
        forge = self._forges.by_name.get(delivery.forge)
        if forge is None:
            return self._die(claim, UNKNOWN_FORGE)
        parsed = forge.parser.parse(delivery.event, delivery.body, content_type=delivery.content_type)
        match parsed:
            case Unreadable(reason=reason):
                return self._die(claim, f"{UNREADABLE}: {reason}")
            case Ignored(reason=reason):
                return self._finish(claim, Result(status=DeliveryStatus.IGNORED, reason=reason))
            case Ping():
                return self._finish(claim, Result(status=DeliveryStatus.DONE))
            case Push() | RepositoryMoved():
                pushed = self._pushed(forge, parsed) if isinstance(parsed, Push) else ()
                return self._note_repository(claim, forge, parsed.repository, pushed=pushed)
            case RunEnded():
                return self._look_at_build(claim, forge, parsed)
            case ForgeEvent() | ChangeTouched():
                return self._read_again(claim, forge, parsed, delivery.now)

    def _read_again(
        self, claim: Claim, forge: Forge, parsed: ForgeEvent | ChangeTouched, asked_at: datetime
    ) -> Mapping[str, int]:
        """Read the change from the forge. If it does not answer, use what the webhook says with certainty."""
        number = parsed.change.number if isinstance(parsed, ForgeEvent) else parsed.number
        found: ForgeEvent | ChangeTouched | Ignored = parsed
        try:
            with self._forges.asking(forge, parsed.repository.full_name) as reader:
                mirror = mirror_of(forge)
                reading = reader.read_change(parsed.repository.full_name, number)
                if isinstance(parsed, ForgeEvent):
                    found = _unless_own(reader.complete(parsed), reader.own_login())
        except (ForgeFault, ForgeNotAsked) as fault:
            return self._without_an_answer(claim, forge, parsed, fault)
        self._checkpoint(INBOX_ASKED)
        result = Result(status=DeliveryStatus.DONE, repository=reading.repository.full_name)
        with self._database.begin() as connection:
            written = mirror.write(connection, reading, asked_at=asked_at)
            match found:
                case ForgeEvent():
                    result = _told(result, mirror.tell(connection, found, written))
                case Ignored() | ChangeTouched():
                    result = _ignored(result, found.reason)
            ours = self._end(connection, claim, items.done(claim), result)
            self._checkpoint(INBOX_WRITTEN)
        self._checkpoint(INBOX_COMMITTED)
        return _counts(result) if ours else {}

    def _without_an_answer(
        self,
        claim: Claim,
        forge: Forge,
        parsed: ForgeEvent | ChangeTouched,
        fault: ForgeFault | ForgeNotAsked,
    ) -> Mapping[str, int]:
        """Hand in an event that is certain, so that no email is lost; the next sweep corrects the mirror."""
        if not (isinstance(parsed, ForgeEvent) and parsed.certain):
            return self._retry(claim, _in_words(fault))
        reading = ChangeReading(
            repository=parsed.repository,
            change=parsed.change,
            reviewers=tuple(Reviewer(login=login, requested=True) for login in parsed.change.requested),
        )
        mirror = Mirror(forge.settings, rivals=forge.rivals)
        result = Result(status=DeliveryStatus.DONE, repository=parsed.repository.full_name)
        with self._database.begin() as connection:
            written = mirror.write(connection, reading, asked_at=None)
            repositories.make_due(connection, forge.name, forge_id=parsed.repository.id)
            result = _told(result, mirror.tell(connection, parsed, written))
            ours = self._end(connection, claim, items.done(claim), result)
        return _counts(result) if ours else {}

    def _look_at_build(self, claim: Claim, forge: Forge, ended: RunEnded) -> Mapping[str, int]:
        """Take the request forward whose build has ended; what became of it, its runner asks the forge."""
        queues = self._queues_of(forge, ended.repository)
        named = [id_ for word in ended.name.split() if (id_ := RequestId.parse(word)) and id_.queue in queues]
        status, reason = (DeliveryStatus.DONE, None) if named else (DeliveryStatus.IGNORED, NO_REQUEST)
        result = Result(status=status, reason=reason, repository=ended.repository.full_name)
        with self._database.begin() as connection:
            for id_ in named[:1]:
                requests.make_due(connection, id_)
            ours = self._end(connection, claim, items.done(claim), result)
        if named:
            self._doorbell.ring(HEADS)
        return _counts(result) if ours else {}

    def _pushed(self, forge: Forge, push: Push) -> list[str]:
        """The queues that validate what was pushed."""
        return [name for name, one in self._queues_of(forge, push.repository).items() if one.ref == push.ref]

    def _queues_of(self, forge: Forge, repository: Repository) -> Mapping[str, QueueSettings]:
        where = (forge.name, repository.full_name.lower())
        return {one.name: one for one in self._queues if (one.forge, one.repository.lower()) == where}

    def _note_repository(
        self, claim: Claim, forge: Forge, repository: Repository, *, pushed: Sequence[str] = ()
    ) -> Mapping[str, int]:
        """Store a repository that was renamed or pushed to, and sweep it at once; look at the queues *pushed* to."""
        result = Result(status=DeliveryStatus.DONE, repository=repository.full_name)
        with self._database.begin() as connection:
            repositories.put(connection, forge.name, [repository])
            repositories.make_due(connection, forge.name, forge_id=repository.id)
            polls.make_due(connection, pushed)
            ours = self._end(connection, claim, items.done(claim), result)
        if pushed:
            self._doorbell.ring(HEADS)
        return _counts(result) if ours else {}

    def _finish(self, claim: Claim, result: Result) -> Mapping[str, int]:
        with self._database.begin() as connection:
            ours = self._end(connection, claim, items.done(claim), result)
        return _counts(result) if ours else {}

    def _die(self, claim: Claim, reason: str) -> Mapping[str, int]:
        return self._fail(items.dead(claim, reason[:LONGEST_REASON]))

    def _retry(self, claim: Claim, reason: str) -> Mapping[str, int]:
        return self._fail(items.later(claim, reason, rng=self._rng))

    def _fail(self, outcome: ItemOutcome) -> Mapping[str, int]:
        with self._database.begin() as connection:
            return settle_failed(connection, self, outcome)

    def _settle(self, outcome: ItemOutcome) -> None:
        with self._database.begin() as connection:
            deliveries.settle(connection, [outcome])

    def _end(self, connection: Connection, claim: Claim, outcome: ItemOutcome, result: Result) -> bool:
        """End the attempt if its lease is still ours. What else the transaction wrote is safe to write twice."""
        ours = bool(deliveries.settle(connection, [outcome]))
        if ours:
            deliveries.finish(connection, claim.id, result)
        return ours


def _unless_own(found: ForgeEvent | Ignored, own_login: str | None) -> ForgeEvent | Ignored:
    """The event, but nobody is told what we said ourselves. Few deliveries state which account is ours."""
    if isinstance(found, ForgeEvent) and (found.comment or found.review) and is_own(found.actor, own_login):
        return Ignored(reason="own")
    return found


def _told(result: Result, key: str | None) -> Result:
    return replace(result, event_keys=(key,) if key else ())


def _ignored(result: Result, reason: str) -> Result:
    return replace(result, status=DeliveryStatus.IGNORED, reason=reason)


def _counts(result: Result) -> Counter[str]:
    return Counter({"ignored": int(result.status is DeliveryStatus.IGNORED), "told": len(result.event_keys)})


def _in_words(fault: ForgeFault | ForgeNotAsked) -> str:
    if isinstance(fault, ForgeNotAsked):
        return "forge_not_asked"
    return f"forge: {type(fault.meaning).__name__}"
