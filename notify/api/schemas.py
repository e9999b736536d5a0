"""What the API takes and gives, as OpenAPI shows it. Unknown fields are refused: a typo must not be silence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Annotated, Any, Literal, Self

from fastapi import Path
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationInfo,
    field_validator,
)

from notify.channels.email.writing import headers
from notify.channels.email.writing.headers import UnusableAddress
from notify.domain.audience import Reason
from notify.domain.errors import UnsafeHeader
from notify.domain.events import ChangeList
from notify.domain.fan_out import Step
from notify.domain.outcomes import JobStatus
from notify.domain.preferences import EventType, Person, Preferences
from notify.domain.schedule import FORESEEABLE, DeferredBy, Mode, QuietHours, is_foreseeable, is_zone
from notify.intake.schema import Line, Name, Strict, WebAddress, one_line, written_out
from notify.store.directory.directory import Refusal, State
from notify.store.outbox.jobs import AttemptView, EventView, JobView

LARGEST_ID = 2**63 - 1
LONGEST_ADDRESS = 254
ENABLED = "The master switch: only required emails come while it is off."
DELIVERY_MODE = "Emails at once, or together at the hour of a digest."
PARTICIPATING = "Emails about change lists on which the person has said something."
OWN_ACTIONS = "Emails about what the person does themselves."
MENTIONS_PIERCE_MUTES = "A mention reaches the person on a change list that they have muted."
CASES = {2: str.upper, 4: str.capitalize}


def _expected(words: str, is_right: Callable[[Any], bool]) -> AfterValidator:
    """Refuses, in these words, all that is not right."""

    def check(value: Any) -> Any:  # noqa: ANN401 - what it was given
        """
        Raises:
            ValueError: It is not right.
        """
        if not is_right(value):
            msg = f"expected {words}"
            raise ValueError(msg)
        return value

    return AfterValidator(check)


def _goes_on_the_wire(address: str) -> bool:
    """The door asks what the mail channel asks."""
    try:
        headers.address(address)
    except (UnusableAddress, UnsafeHeader):
        return False
    return True


def language_tag(value: str) -> str:
    """
    A language tag as BCP 47 writes it: ``pt-BR`` for ``PT_br``, ``zh-Hant-HK`` for ``zh-hant-hk``.

    Source: RFC 5646 §2.1.1.
    """
    language, *parts = value.replace("_", "-").lower().split("-")
    plain = next((at for at, part in enumerate(parts) if len(part) == 1), len(parts))
    cased = (CASES.get(len(part), str.lower)(part) for part in parts[:plain])
    return "-".join([language, *cased, *parts[plain:]])


# What no pattern can say has a name as its format, for those who read the document.
Address = Annotated[
    str,
    Field(max_length=LONGEST_ADDRESS, json_schema_extra={"format": "email"}),
    AfterValidator(one_line),
    _expected("a bare address such as dana@example.com", _goes_on_the_wire),
]
Locale = Annotated[
    str, Field(max_length=35, pattern=r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$"), AfterValidator(language_tag)
]
Timezone = Annotated[
    str,
    Field(max_length=64, json_schema_extra={"format": "iana-time-zone"}),
    _expected("an IANA time zone such as Europe/Berlin", is_zone),
]
Instant = Annotated[
    AwareDatetime,
    BeforeValidator(written_out),
    _expected(f"an instant from {FORESEEABLE[0]:%Y} to before {FORESEEABLE[1]:%Y}", is_foreseeable),
]
Weekday = Annotated[StrictInt, Field(ge=1, le=7)]
WallTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
InPath = Annotated[Name, Path()]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID)]


class View(BaseModel):
    """An answer, read from what the store returned."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class EventAccepted(View):
    """The event is stored and will be told."""

    id: int
    key: str = Field(description="The idempotency key, given or made up.")
    duplicate: bool = Field(description="The key was known before; nothing was changed.")


class BatchAccepted(View):
    """All events of the batch are stored and will be told."""

    accepted: int = Field(description="Events that are new.")
    duplicates: int = Field(description="Events whose key was known before; they changed nothing.")


class NotificationOut(View):
    """What became of an event for one person."""

    username: str
    event_type: str = Field(description="The type under which the person is told; of a mention, cl.comment.mentioned.")
    reason: Reason = Field(description="Why the event concerned the person.")
    status: str
    why: str | None = Field(description="Why skipped, dead or cancelled, if so.")
    message_id: str | None
    trace: list[Step] = Field(description="Every rule that is asked by what holds today, in order; the last decides.")


class OwnNotification(NotificationOut):
    """What became of an event for the person who asks."""

    id: int
    event_key: str
    topic: str
    job_id: int | None = Field(description="The job whose email tells of it; null: none does.")
    to_email: str | None
    due_at: datetime | None = Field(description="Not before this instant; null: finished.")
    deferred_by: DeferredBy | None = Field(description="What it waits or has waited for; null: nothing.")
    created_at: datetime
    finished_at: datetime | None


class HistoryPage(View):
    """A person's notifications, newest first."""

    notifications: list[OwnNotification]
    next_cursor: int | None = Field(description="Where the next page begins; null: this is the last.")


class HistoryFilter(Strict):
    """Which of the person's notifications to list, and from where."""

    topic: Name | None = None
    cursor: int | None = Field(default=None, ge=1, le=LARGEST_ID, description="next_cursor of the page before.")
    limit: int = Field(default=50, ge=1, le=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOut(EventView):
    """An event as it stands, and what became of it for everyone it concerned."""

    people: Sequence[NotificationOut]


class PersonIn(Strict):
    """A person in place of what was known; what is absent becomes unknown."""

    email: Address | None = Field(default=None, description="Where the person reads mail.")
    display_name: Line | None = Field(default=None, description="The person's name for others to read.")
    locale: Locale | None = Field(default=None, description="BCP 47 language tag.", examples=["en-GB"])
    timezone: Timezone | None = Field(default=None, description="IANA time zone.", examples=["Europe/Berlin"])
    is_bot: StrictBool = Field(
        default=False, description="Bots get emails only of the kinds that are switched on for them."
    )
    active: StrictBool = Field(default=True, description="False: has left, gets no emails.")

    def named(self, username: str) -> Person:
        """The person of this name."""
        return Person(username=username, **self.model_dump())


class ChangeListFacts(Strict):
    """A change list in place of what was known; what is absent becomes unknown."""

    title: Line | None = Field(default=None, description="One line.")
    url: WebAddress | None = Field(default=None, description="Page of the change list.")
    repository: Name | None = Field(default=None, description="Repository, for the subject of emails.")
    author: Name | None = Field(default=None, description="Username of the author.")
    reviewers: list[Name] = Field(default=[], max_length=1_000, fail_fast=True, description="Usernames.")
    state: State = State.OPEN

    def linked(self, link: str) -> ChangeList:
        """The change list of this link."""
        return ChangeList(link=link, **self.model_dump(exclude={"state", "reviewers"}), reviewers=tuple(self.reviewers))


class ChangeListOut(View):
    """A change list as the directory knows it."""

    link: str
    title: str | None
    url: str | None
    repository: str | None
    author: str | None
    reviewers: list[str]
    state: State


class EventTypeOut(View):
    """One kind of event people can choose about."""

    code: str
    category: str
    description: str
    system_required: bool = Field(description="Nobody can switch it off.")
    default_enabled: bool = Field(description="What holds for people who have chosen nothing.")


class PreferenceIn(Strict):
    """A choice about one kind of event."""

    event_type_code: Name
    enabled: StrictBool
    overridden: StrictBool | None = Field(
        default=None,
        description="False, together with the default of the type: forget the choice. Else it is stored as a choice.",
    )

    def choice(self, event_type: EventType) -> bool | None:
        """What to store; None forgets what is stored."""
        return None if self.overridden is False and self.enabled == event_type.default_enabled else self.enabled


class PreferenceOut(View):
    """What holds for one kind of event."""

    event_type_code: str
    enabled: bool
    overridden: bool = Field(description="The person has chosen; false: it is the default.")


class Digest(Strict):
    """When digests come, by the person's clock; what is absent or null stays as it is."""

    hour: Annotated[StrictInt, Field(ge=0, le=23)] | None = Field(default=None, description="Unless it is hourly.")
    weekday: Weekday | None = Field(default=None, description="Of the weekly digest; 1 is Monday.")


class Quiet(Strict):
    """Hours in which no email comes, by the person's clock."""

    days: list[Weekday] = Field(min_length=1, max_length=7, description="On which they begin; 1 is Monday.")
    start: WallTime = Field(examples=["22:00"])
    end: WallTime = Field(description="The next day, if it is before the start. Never the same.", examples=["07:00"])

    @field_validator("end")
    @classmethod
    def another(cls, end: str, info: ValidationInfo) -> str:
        """
        Raises:
            ValueError: They would have no end.
        """
        if end == info.data.get("start"):
            msg = "expected another time than start"
            raise ValueError(msg)
        return end

    @property
    def hours(self) -> QuietHours:
        """What they are to the domain."""
        start, end = time.fromisoformat(self.start), time.fromisoformat(self.end)
        return QuietHours(days=frozenset(self.days), start=start, end=end)

    @classmethod
    def of(cls, hours: QuietHours) -> Self:
        return cls(days=sorted(hours.days), start=f"{hours.start:%H:%M}", end=f"{hours.end:%H:%M}")


class ConfigIn(Strict):
    """Any part of a person's choices. What is absent stays as it is, and so does what is null and says nothing else."""

    enabled: StrictBool | None = Field(default=None, description=ENABLED)
    delivery_mode: Mode | None = Field(default=None, description=DELIVERY_MODE)
    digest: Digest | None = None
    timezone: Timezone | None = Field(
        default=None, description="IANA time zone. Null: the directory's again.", examples=["Europe/Berlin"]
    )
    quiet_hours: Quiet | None = Field(default=None, description="Null: none any more.")
    paused_until: Instant | None = Field(default=None, description="No email before it. Null: not paused any more.")
    email: Address | None = Field(default=None, description="Where emails go. Null: the directory's address again.")
    participating: StrictBool | None = Field(default=None, description=PARTICIPATING)
    own_actions: StrictBool | None = Field(default=None, description=OWN_ACTIONS)
    mentions_pierce_mutes: StrictBool | None = Field(default=None, description=MENTIONS_PIERCE_MUTES)
    preferences: list[PreferenceIn] = Field(default=[], max_length=200, fail_fast=True)
    undeliverable: Refusal | None = Field(
        default=None, description="Changes nothing; taken so that what was read can be put back."
    )


class ConfigOut(View):
    """A person's choices as they stand."""

    enabled: bool = Field(description=ENABLED)
    delivery_mode: Mode = Field(description=DELIVERY_MODE)
    digest: Digest
    timezone: str | None = Field(description="The person's own choice; null: the directory's.")
    quiet_hours: Quiet | None = Field(description="Null: none.")
    paused_until: datetime | None = Field(description="No email before it; null: not paused.")
    email: str | None = Field(description="The person's own choice; null: the directory's address.")
    participating: bool = Field(description=PARTICIPATING)
    own_actions: bool = Field(description=OWN_ACTIONS)
    mentions_pierce_mutes: bool = Field(description=MENTIONS_PIERCE_MUTES)
    preferences: list[PreferenceOut]
    undeliverable: Refusal | None = Field(description="Why emails have stopped; null: they have not.")

    @classmethod
    def of(cls, choices: Preferences, event_types: dict[str, EventType], *, undeliverable: Refusal | None) -> Self:
        chosen, schedule = choices.preferences, choices.schedule
        return cls(
            enabled=choices.enabled,
            delivery_mode=schedule.mode,
            digest=Digest(hour=schedule.hour, weekday=schedule.weekday),
            timezone=schedule.timezone,
            quiet_hours=Quiet.of(schedule.quiet_hours) if schedule.quiet_hours else None,
            paused_until=schedule.paused_until,
            email=choices.email,
            participating=choices.participating,
            own_actions=choices.own_actions,
            mentions_pierce_mutes=choices.mentions_pierce_mutes,
            preferences=[
                PreferenceOut(
                    event_type_code=code,
                    enabled=event_type.is_on(chosen.get(code)),
                    overridden=code in chosen and not event_type.system_required,
                )
                for code, event_type in event_types.items()
            ],
            undeliverable=undeliverable,
        )


class ChangeListChoiceIn(Strict):
    """What a person wants of one change list; what is absent or null stays as it is."""

    muted: StrictBool | None = Field(default=None, description="No emails about it, whatever the role.")
    subscribed: StrictBool | None = Field(default=None, description="Emails about it, whatever the role, unless muted.")


class ChangeListChoiceOut(View):
    """What a person wants of one change list."""

    link: str
    title: str | None = Field(description="Null: the directory does not know it.")
    muted: bool
    subscribed: bool


class JobQuery(Strict):
    """Which jobs to list, and from where."""

    username: Name | None = None
    topic: Name | None = None
    status: JobStatus | None = None
    event_key: Name | None = None
    outcome_reason: Name | None = Field(default=None, description="Why it stands as it does: template_error.")
    last_code: int | None = Field(default=None, ge=200, le=599, description="SMTP code of the last attempt.")
    to_email: Name | None = None
    message_id: Name | None = Field(default=None, description="Without brackets.")
    queue_id: Name | None = Field(default=None, description="Part of the relay's words when it took the email.")
    created_from: Instant | None = Field(default=None, description="Written at this instant or later.")
    created_before: Instant | None = Field(default=None, description="Written before this instant.")
    cursor: int | None = Field(default=None, ge=1, le=LARGEST_ID, description="next_cursor of the page before.")
    limit: int = Field(default=50, ge=1, le=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWithAttempts(JobView):
    """One job as it stands, every attempt that did not end in sent, and what its email tells of."""

    attempts: Sequence[AttemptView]
    notifications: Sequence[OwnNotification]


class WrittenEmail(View):
    """An email as it would be written today; its links open nothing."""

    message_id: str
    to_email: str
    subject: str
    text: str
    html: str


class JobPage(View):
    """Jobs, newest first."""

    jobs: list[JobView]
    next_cursor: int | None = Field(
        description="Where the next page begins, though this one may be empty; null: this is the last."
    )


class Check(View):
    """One thing the service needs."""

    ok: bool
    detail: str


class Readiness(View):
    """Whether the service can do its work."""

    status: Literal["ready", "degraded", "unavailable"]
    checks: dict[str, Check]
