"""A job (one email to one person), its notifications, and one attempt to send it."""

from dataclasses import dataclass
from math import inf

from notify.domain.audience import Reason
from notify.domain.claims import Claim
from notify.domain.errors import NotifyError
from notify.domain.events import ChangeList, Event
from notify.domain.outcomes import Answer, Phase
from notify.domain.preferences import EventType, Person, Preferences
from notify.domain.schedule import DeferredBy


@dataclass(slots=True, kw_only=True)
class Notification:
    """
    One event in an email, with the current rows it refers to; None: there is no such row.

    Args:
        type_code: The type whose templates and preferences apply.
    """

    id: int
    type_code: str
    reason: Reason
    event: Event
    event_type: EventType | None
    change_list: ChangeList | None
    actor: Person | None


@dataclass(slots=True, kw_only=True)
class Job:
    """
    A claimed ``email_jobs`` row with current facts for the recheck.

    Args:
        person: None: not in the directory.
        preferences: Those that apply to these notifications.
        deferred_by: Why it waited; None: it did not.
        is_replay: Its notifications belong to another job.
        notifications: At least one, in the order they were written.
    """

    claim: Claim
    username: str
    to_email: str
    message_id: str
    expired: bool
    person: Person | None
    preferences: Preferences
    notifications: tuple[Notification, ...]
    deferred_by: DeferredBy | None = None
    is_replay: bool = False

    @property
    def event_type(self) -> str:
        """The type of its first notification, under which it is counted."""
        return self.notifications[0].type_code

    @property
    def is_required(self) -> bool:
        """Whether the email is sent immediately, whatever the person's preferences."""
        return any(one.event_type is not None and one.event_type.system_required for one in self.notifications)


@dataclass(slots=True, kw_only=True)
class EmailFacts:
    """
    What a channel needs to write and send one email.

    ``message_id`` has no angle brackets and is the same for every attempt. The event's type is the one whose
    templates apply, which for a mention differs from the stored event. ``entries`` are the events of a bundle or
    digest, in order, including this one; empty for a single event. ``deferred_by`` is why it waited; None: it did not.
    """

    claim: Claim
    message_id: str
    event: Event
    change_list: ChangeList
    actor: Person
    recipient: Person
    to_email: str
    reason: Reason
    entries: tuple["EmailFacts", ...] = ()
    deferred_by: DeferredBy | None = None

    @property
    def digest(self) -> DeferredBy | None:
        """The kind of digest; None: the email is about one change list and belongs to its thread."""
        if self.deferred_by is None:
            return None
        links = {one.change_list.link for one in self.entries}
        return self.deferred_by if self.deferred_by.is_digest or len(links) > 1 else None


class NoJob(NotifyError):
    """The email has no job."""


@dataclass(slots=True, eq=False, kw_only=True)
class EmailAttempt:
    """
    One email from claim to record: a single mutable object that each step fills in.

    Instants are monotonic seconds.

    Attributes:
        row: The claimed job; None: an email without a job, which is not recorded.
        domain: The recipient's domain.
        claimed_at: Just before the claim.
        leased_until: Nothing may be sent after this; lowered when the lease is lost.
        begun_at: When a session of *relay* got it.
        position: How many emails to the same domain preceded it on its session.
        sender: In the envelope. Set on rendering, like *recipient*, *content* (what follows DATA, before dot-stuffing)
            and *international* (the relay must offer SMTPUTF8).
        code: Of the reply that accepted it. Set with *enhanced_code*, *reply* and *seconds* (since *begun_at*).
    """

    facts: EmailFacts
    row: Job | None = None
    domain: str = ""
    claimed_at: float = 0.0
    leased_until: float = inf
    begun_at: float = 0.0
    relay: str | None = None
    position: int = 0
    sender: str = ""
    recipient: str = ""
    international: bool = False
    content: bytes = b""
    code: int | None = None
    enhanced_code: str | None = None
    reply: str = ""
    seconds: float = 0.0

    @property
    def job(self) -> Job:
        """
        The claimed job.

        Raises:
            NoJob: There is none.
        """
        if self.row is None:
            raise NoJob(message_id=self.facts.message_id)
        return self.row

    @property
    def answer(self) -> Answer:
        """The reply that accepted the email."""
        return Answer(phase=Phase.FINAL_DOT, code=self.code, enhanced=self.enhanced_code, text=self.reply)
