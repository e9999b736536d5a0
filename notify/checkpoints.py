"""Named points between two steps, at which a test can kill the process as a power cut would."""

import os
from collections.abc import Callable
from itertools import count
from signal import SIGKILL

from notify.domain.errors import InvalidSettings

CRASH_AT = "NOTIFY_TEST_CRASH_AT"

FAN_OUT_CLAIMED = "fan_out.claimed"
FAN_OUT_WRITTEN = "fan_out.written"
FAN_OUT_COMMITTED = "fan_out.committed"
EMAIL_CLAIMED = "email.claimed"
EMAIL_ANSWERED = "email.answered"
RECORD_WRITTEN = "record.written"
RECORD_COMMITTED = "record.committed"
INBOX_CLAIMED = "inbox.claimed"
INBOX_ASKED = "inbox.asked"
INBOX_WRITTEN = "inbox.written"
INBOX_COMMITTED = "inbox.committed"
RECONCILE_CLAIMED = "reconcile.claimed"
RECONCILE_READ = "reconcile.read"
RECONCILE_WRITTEN = "reconcile.written"
STATUSES_CLAIMED = "statuses.claimed"
STATUSES_ANSWERED = "statuses.answered"
STATUSES_WRITTEN = "statuses.written"
STATUSES_COMMITTED = "statuses.committed"
HEADS_LOOK_TAKEN = "heads.look_taken"
HEADS_NUMBERED = "heads.numbered"
HEADS_URI_CLAIMED = "heads.uri_claimed"
HEADS_REQUEST_CREATED = "heads.request_created"
HEADS_CLAIMED = "heads.claimed"
HEADS_SLOT_TAKEN = "heads.slot_taken"
HEADS_PROCESSING = "heads.processing"
HEADS_BUILD_STARTED = "heads.build_started"
HEADS_BUILD_CREATED = "heads.build_created"
HEADS_BUILD_RECORDED = "heads.build_recorded"
HEADS_SLOT_RELEASED = "heads.slot_released"
HEADS_SUCCEEDED = "heads.succeeded"
HEADS_FAILED = "heads.failed"
HEADS_CANCELLED = "heads.cancelled"
HEADS_SUPERSEDED = "heads.superseded"
HEADS_BUILD_CANCELLED = "heads.build_cancelled"
HEADS_FACTS_RECORDED = "heads.facts_recorded"
HEADS_GREEN_RECORDED = "heads.green_recorded"
HEADS_PROMOTED = "heads.promoted"
HEADS_TOLD = "heads.told"
WEBHOOKS_CLAIMED = "webhooks.claimed"
WEBHOOKS_ANSWERED = "webhooks.answered"
WEBHOOKS_WRITTEN = "webhooks.written"
WEBHOOKS_COMMITTED = "webhooks.committed"
OF_EMAILS = (
    FAN_OUT_CLAIMED,
    FAN_OUT_WRITTEN,
    FAN_OUT_COMMITTED,
    EMAIL_CLAIMED,
    EMAIL_ANSWERED,
    RECORD_WRITTEN,
    RECORD_COMMITTED,
)
"""Between an event that was handed in and its email."""
NAMES = (
    *OF_EMAILS,
    INBOX_CLAIMED,
    INBOX_ASKED,
    INBOX_WRITTEN,
    INBOX_COMMITTED,
    RECONCILE_CLAIMED,
    RECONCILE_READ,
    RECONCILE_WRITTEN,
    STATUSES_CLAIMED,
    STATUSES_ANSWERED,
    STATUSES_WRITTEN,
    STATUSES_COMMITTED,
    HEADS_LOOK_TAKEN,
    HEADS_NUMBERED,
    HEADS_URI_CLAIMED,
    HEADS_REQUEST_CREATED,
    HEADS_CLAIMED,
    HEADS_SLOT_TAKEN,
    HEADS_PROCESSING,
    HEADS_BUILD_STARTED,
    HEADS_BUILD_CREATED,
    HEADS_BUILD_RECORDED,
    HEADS_SLOT_RELEASED,
    HEADS_SUCCEEDED,
    HEADS_FAILED,
    HEADS_CANCELLED,
    HEADS_SUPERSEDED,
    HEADS_BUILD_CANCELLED,
    HEADS_FACTS_RECORDED,
    HEADS_GREEN_RECORDED,
    HEADS_PROMOTED,
    HEADS_TOLD,
    WEBHOOKS_CLAIMED,
    WEBHOOKS_ANSWERED,
    WEBHOOKS_WRITTEN,
    WEBHOOKS_COMMITTED,
)

Checkpoint = Callable[[str], None]


def no_checkpoint(_name: str) -> None:
    """Do nothing; used in production."""


def crash_at(where: str | None) -> Checkpoint:
    """
    A checkpoint that kills its process.

    Args:
        where: ``name`` or ``name:n``: the process is killed, without cleaning up, when it reaches the checkpoint for
            the n-th time (default: first). None or empty: never.
    """
    if not where:
        return no_checkpoint
    fatal, _, number = where.partition(":")
    if fatal not in NAMES or (number and not (number.isdecimal() and int(number))):
        expected = f"one of {', '.join(NAMES)}, and :n for the n-th time"
        raise InvalidSettings(f"{CRASH_AT} is {where!r}; expected {expected}")
    times = count(1)
    last = int(number or 1)

    def die_there(name: str) -> None:
        if name == fatal and next(times) == last:
            os.kill(os.getpid(), SIGKILL)

    return die_there
