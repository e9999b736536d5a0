"""One attempt at one target: the calls to its forge, and what they were answered. Holds no transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import structlog

from notify.checkpoints import STATUSES_ANSWERED, Checkpoint, no_checkpoint
from notify.domain.claims import Claim
from notify.domain.forge_answers import ForgeFault, Refused
from notify.domain.status_outcomes import UNEXPECTED
from notify.domain.statuses import AppliedStatus, Status, StatusKind, StatusState, WantedStatus
from notify.statuses.gate import Gate
from notify.statuses.schema import output_of
from notify.store.statuses.applying import Target
from notify.work.forges import Forge

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """
    What came of an attempt: exactly one of ``applied``, ``fault``, ``error`` and ``not_called`` is given.

    Args:
        error: An exception that nobody recognises.
        not_called: The forge is not to be asked for so many seconds, so no call was made.
        installation: With whose token the forge was asked; None: none, or not known.
        labelled: Whether the pull request has the error label now; None: as before.
    """

    claim: Claim
    target: Target
    took: float = 0.0
    applied: AppliedStatus | None = None
    fault: ForgeFault | None = None
    error: Exception | None = None
    not_called: float | None = None
    installation: int | None = None
    labelled: bool | None = None


def call(
    forge: Forge,
    target: Target,
    claim: Claim,
    *,
    gate: Gate,
    may_begin: Callable[[Claim], bool],
    checkpoint: Checkpoint = no_checkpoint,
) -> Answered:
    """
    Have the forge show what the target wants. Never raises.

    Args:
        may_begin: Whether the lease still lasts.
    """
    began = monotonic()
    installation = None
    try:
        if not may_begin(claim):
            return Answered(claim=claim, target=target, not_called=0.0)
        if left := gate.take_turn(forge.name):
            return Answered(claim=claim, target=target, not_called=left)
        installation = forge.writer.installation(target.repository)
        if left := gate.paused_for(forge.name, installation):
            return Answered(claim=claim, target=target, not_called=left)
        applied = forge.writer.apply(wanted_by(target, claim))
    except ForgeFault as fault:
        gate.heard(forge.name, fault)
        labelled = _label(forge, target) if _is_unexpected(fault) else None
        return Answered(claim=claim, target=target, took=monotonic() - began, fault=fault, labelled=labelled)
    except Exception as error:
        log.exception("status.failed", status=target.id)
        return Answered(claim=claim, target=target, took=monotonic() - began, error=error)
    checkpoint(STATUSES_ANSWERED)
    gate.heard(forge.name, None)
    labelled = _unlabel(forge, target) if target.labelled else None
    return Answered(
        claim=claim,
        target=target,
        took=monotonic() - began,
        applied=applied,
        installation=installation,
        labelled=labelled,
    )


def wanted_by(target: Target, claim: Claim) -> WantedStatus:
    """What the forge is to be told."""
    status = Status(
        forge=target.forge,
        repository=target.repository,
        sha=target.sha,
        context=target.context,
        kind=StatusKind(target.kind),
        state=StatusState(target.state),
        description=target.description,
        target_url=target.target_url,
        output=None if target.output is None else output_of(target.output),
    )
    return WantedStatus(
        status=status,
        external_id=str(target.id),
        remote_id=target.remote_id,
        # Of an attempt that was never recorded, only the lapse is known.
        look=target.remote_id is None and (target.attempts > 0 or claim.lapses > 0),
        started_at=target.started_at,
        completed_at=target.completed_at,
    )


def _is_unexpected(fault: ForgeFault) -> bool:
    return isinstance(fault.meaning, Refused) and fault.meaning.reason == UNEXPECTED


def _label(forge: Forge, target: Target) -> bool | None:
    """Set the error label; that it cannot be set changes nothing about the status."""
    label = forge.settings.error_label
    done = label is not None and _is_done(target, lambda: forge.writer.add_label(target.repository, target.sha, label))
    return True if done else None


def _unlabel(forge: Forge, target: Target) -> bool | None:
    """Take the error label away; if that fails it is tried again at the next success."""
    label = forge.settings.error_label
    done = label is None or _is_done(target, lambda: forge.writer.remove_label(target.repository, target.sha, label))
    return False if done else None


def _is_done(target: Target, act: Callable[[], None]) -> bool:
    try:
        act()
    except ForgeFault as fault:
        log.warning("label.failed", status=target.id, request=fault.request, code=fault.status)
        return False
    except Exception:
        log.exception("label.failed", status=target.id)
        return False
    return True
