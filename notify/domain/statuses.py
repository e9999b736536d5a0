"""Statuses: what an application wants to be shown on a commit, and how it fits what forges take."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

# Source: GitHub's REST API, "Commit statuses" and "Check runs"; annotations are taken fifty in one call.
LONGEST_DESCRIPTION = 140
LONGEST_TEXT = 65_535
ANNOTATIONS_A_CALL = 50
CUT = "\n\n… cut: the whole is longer than the forge takes."
ELLIPSIS = "…"


class StatusKind(StrEnum):
    """How a status is shown. Check runs exist on GitHub, for apps; elsewhere the nearest commit status is shown."""

    STATUS = "status"
    CHECK_RUN = "check_run"


class StatusState(StrEnum):
    """
    The states of both kinds, in one field.

    A check run that has a conclusion (``CONCLUSIONS``) is completed.
    """

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"
    WARNING = "warning"
    SKIPPED = "skipped"
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    NEUTRAL = "neutral"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    ACTION_REQUIRED = "action_required"


STATUS_STATES = frozenset({StatusState.PENDING, StatusState.SUCCESS, StatusState.FAILURE, StatusState.ERROR})
# Gitea has these besides.
GITEA_STATES = STATUS_STATES | {StatusState.WARNING, StatusState.SKIPPED}
CONCLUSIONS = frozenset(
    {
        StatusState.SUCCESS,
        StatusState.FAILURE,
        StatusState.NEUTRAL,
        StatusState.CANCELLED,
        StatusState.TIMED_OUT,
        StatusState.ACTION_REQUIRED,
        StatusState.SKIPPED,
    }
)
CHECK_STATES = CONCLUSIONS | {StatusState.QUEUED, StatusState.IN_PROGRESS}

_NEAREST: Mapping[StatusState, StatusState] = MappingProxyType(
    {
        StatusState.QUEUED: StatusState.PENDING,
        StatusState.IN_PROGRESS: StatusState.PENDING,
        StatusState.NEUTRAL: StatusState.SUCCESS,
        StatusState.CANCELLED: StatusState.ERROR,
        StatusState.TIMED_OUT: StatusState.FAILURE,
        StatusState.ACTION_REQUIRED: StatusState.FAILURE,
    }
)


class TargetStatus(StrEnum):
    """What became of a target; ``skipped``: there is no such commit, or no longer."""

    PENDING = "pending"
    APPLIED = "applied"
    DEAD = "dead"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class AnnotationLevel(StrEnum):
    NOTICE = "notice"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What a check run says about lines of a file. ``title`` None: the message says all."""

    path: str
    start_line: int
    end_line: int
    level: AnnotationLevel
    message: str
    title: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutput:
    """What a check run says, in Markdown. ``text`` None: the summary says all."""

    title: str
    summary: str
    text: str | None = None
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """
    What an application wants to be shown on a commit.

    Args:
        forge: Its name in the forges file.
        repository: ``owner/name``, today's or an earlier one.
        sha: The full hash, in lower case.
        context: Names the status on its commit; of a check run its name.
        state: One that *kind* has.
        description: One line; cut to what the forge takes when it is shown. None: nothing to say.
        target_url: Where people read more; None: nowhere.
        output: Of check runs only; None: the description is shown as title and summary.
    """

    forge: str
    repository: str
    sha: str
    context: str
    kind: StatusKind
    state: StatusState
    description: str | None = None
    target_url: str | None = None
    output: CheckOutput | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedStatus:
    """
    What a forge is to show now.

    Args:
        status: With the repository's present name, as far as it is known.
        external_id: Names our target on the forge, in every attempt the same.
        remote_id: The forge's number of the check run; None: none is known.
        look: Whether an earlier attempt may have created a check run: look for one with this name and external id
            before another is created. Only without *remote_id*.
        started_at: When the check began to run; None: it is queued.
        completed_at: When it came to its conclusion; None: it has not.
    """

    status: Status
    external_id: str
    remote_id: int | None = None
    look: bool = False
    started_at: datetime | None = None
    completed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedStatus:
    """
    What the forge shows now.

    ``remote_id`` is the check run's; None: it is a commit status. ``repository`` is the present full name.
    """

    remote_id: int | None
    repository: str


class BuildProgress(StrEnum):
    """How far a build is, as CI programs report it: it has started, or ended with one of five results."""

    STARTED = "Started"
    SUCCESS = "Success"
    FAILURE = "Failure"
    TIMED_OUT = "TimedOut"
    SKIPPED = "Skipped"
    UNEXPECTED_ERROR = "UnexpectedError"


@dataclass(frozen=True, slots=True)
class ProgressShown:
    """``words`` None: the state alone says it; else they belong into the description."""

    state: StatusState
    words: str | None = None


_OF_CHECK_RUNS: Mapping[BuildProgress, ProgressShown] = MappingProxyType(
    {
        BuildProgress.STARTED: ProgressShown(StatusState.IN_PROGRESS),
        BuildProgress.SUCCESS: ProgressShown(StatusState.SUCCESS),
        BuildProgress.FAILURE: ProgressShown(StatusState.FAILURE),
        BuildProgress.TIMED_OUT: ProgressShown(StatusState.TIMED_OUT),
        BuildProgress.SKIPPED: ProgressShown(StatusState.SKIPPED),
        BuildProgress.UNEXPECTED_ERROR: ProgressShown(StatusState.FAILURE, "The build ended with an unexpected error."),
    }
)
_OF_STATUSES: Mapping[BuildProgress, ProgressShown] = MappingProxyType(
    {
        BuildProgress.STARTED: ProgressShown(StatusState.PENDING),
        BuildProgress.SUCCESS: ProgressShown(StatusState.SUCCESS),
        BuildProgress.FAILURE: ProgressShown(StatusState.FAILURE),
        BuildProgress.TIMED_OUT: ProgressShown(StatusState.FAILURE, "The build ran out of time."),
        BuildProgress.SKIPPED: ProgressShown(StatusState.SUCCESS, "The build was skipped."),
        BuildProgress.UNEXPECTED_ERROR: ProgressShown(StatusState.FAILURE, "The build ended with an unexpected error."),
    }
)


def shown_progress(progress: BuildProgress, *, kind: StatusKind) -> ProgressShown:
    """How a build's progress is shown as this kind of status."""
    return (_OF_CHECK_RUNS if kind is StatusKind.CHECK_RUN else _OF_STATUSES)[progress]


def nearest_status(state: StatusState, *, among: frozenset[StatusState] = STATUS_STATES) -> StatusState:
    """
    The commit status that comes nearest to any state.

    Args:
        among: Those that the forge has: ``STATUS_STATES`` or ``GITEA_STATES``.
    """
    if state in among:
        return state
    # What is left is a check run's, or one of Gitea's that another forge lacks.
    return _NEAREST.get(state, StatusState.SUCCESS)


def is_completed(state: StatusState) -> bool:
    """Whether a check run in this state has a conclusion."""
    return state in CONCLUSIONS


def short_description(text: str) -> str:
    """One line of at most 140 characters, cut at a word's end where there is one."""
    line = " ".join(text.split())
    if len(line) <= LONGEST_DESCRIPTION:
        return line
    room = line[: LONGEST_DESCRIPTION - len(ELLIPSIS)]
    if line[len(room)] != " ":
        whole_words, _, _ = room.rpartition(" ")
        room = whole_words or room
    return room.rstrip() + ELLIPSIS


def short_text(text: str) -> str:
    """The text if the forge takes it, else its beginning and a notice that it was cut."""
    if len(text) <= LONGEST_TEXT:
        return text
    return text[: LONGEST_TEXT - len(CUT)].rstrip() + CUT
