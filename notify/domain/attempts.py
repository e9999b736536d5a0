"""One attempt to send an email, as the process that has claimed the job holds it."""

from dataclasses import dataclass
from math import inf

from notify.domain.errors import NotifyError
from notify.domain.jobs import Job, Letter
from notify.domain.outcomes import Answer, Phase


class NoJob(NotifyError):
    """The email is sent by itself, for no job."""


@dataclass(slots=True, eq=False, kw_only=True)
class EmailAttempt:
    """
    An email from its claim to its record: one object, which everybody on its way writes on.

    Instants are monotonic seconds.

    Attributes:
        row: What was claimed; None: nothing was, and nothing can be recorded.
        domain: The recipient's, whose server may be slow or greylist us.
        claimed_at: Before the claim.
        leased_until: From then on nothing may be sent any more; lower when the lease was lost.
        begun_at: When it was given to a session of *relay*.
        place: How many emails to its domain went before it on its session.
        sender: As the envelope has it; with *recipient*, *content* (all that follows DATA, before dot-stuffing) and
            *international* (the relay must offer SMTPUTF8) from when it was written.
        code: Of the reply with which the relay took it; with *enhanced_code*, *reply* and *seconds*, which is how long
            it took since *begun_at*.
    """

    letter: Letter
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
            raise NoJob(message_id=self.letter.message_id)
        return self.row

    @property
    def answer(self) -> Answer:
        """What the relay said when it took the email."""
        return Answer(phase=Phase.FINAL_DOT, code=self.code, enhanced=self.enhanced_code, text=self.reply)
