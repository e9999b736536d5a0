"""A job: one email to one person, what it tells of, and one attempt to send it."""

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
    One event of which the email tells its person, with what is known today. None means that there is no such row.

    Args:
        type_code: The type under which the person is told.
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
    A claimed ``email_jobs`` row with what is known today, for the recheck.

    Args:
        person: None: the directory does not know them.
        preferences: Those that matter to these notifications.
        deferred_by: What it has waited for; None: nothing.
        is_replay: Whether its notifications are another job's.
        notifications: At least one, in the order in which they were written.
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
        """The type of what it tells of first, by which it is counted."""
        return self.notifications[0].type_code

    @property
    def is_required(self) -> bool:
        """Whether the email leaves at once, whatever the person's preferences."""
        return any(one.event_type is not None and one.event_type.system_required for one in self.notifications)


@dataclass(slots=True, kw_only=True)
class EmailFacts:
    """
    What a channel needs to write and send one email. Facts, not words.

    ``message_id`` is without angle brackets and the same at every attempt. The event's type is the one
    under which the person is told, which for a mention is not the one that it has in the table.
    ``entries`` are the emails that leave as this one, in order and this one among them; empty
    where it tells of one event. ``deferred_by`` is what it has waited for; None: for nothing.
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
        """What kind of digest the email is; None: it is about one change list, and belongs to its thread."""
        if self.deferred_by is None:
            return None
        links = {one.change_list.link for one in self.entries}
        return self.deferred_by if self.deferred_by.is_digest or len(links) > 1 else None


class NoJob(NotifyError):
    """The email is sent by itself, for no job."""


@dataclass(slots=True, eq=False, kw_only=True)
class EmailAttempt:
    """
    An email from its claim to its record: one object, which each step fills in.

    Instants are monotonic seconds.

    Attributes:
        row: The claimed job; None: an email without a job, of which nothing is recorded.
        domain: The recipient's, whose server may be slow or greylist us.
        claimed_at: Before the claim.
        leased_until: Nothing may be sent after it; lowered when the lease was lost.
        begun_at: When it was given to a session of *relay*.
        place: How many emails to its domain went before it on its session.
        sender: As the envelope has it; with *recipient*, *content* (all that follows DATA, before dot-stuffing) and
            *international* (the relay must offer SMTPUTF8) from when it was written.
        code: Of the reply with which the relay took it; with *enhanced_code*, *reply* and *seconds*, which is how long
            it took since *begun_at*.
    """

    facts: EmailFacts
    row: Job | None = None
    domain: str = ""
    claimed_at: float = 0.0
    leased_until: float = inf
    begun_at: float = 0.0
    relay: str | None = None
    place: int = 0
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
        What was claimed.

        Raises:
            NoJob: Nothing was.
        """
        if self.row is None:
            raise NoJob(message_id=self.facts.message_id)
        return self.row

    @property
    def answer(self) -> Answer:
        """What the relay said when it took the email."""
        return Answer(phase=Phase.FINAL_DOT, code=self.code, enhanced=self.enhanced_code, text=self.reply)
