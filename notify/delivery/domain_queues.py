"""Claimed emails that wait for a session, queued fairly by recipient domain."""

from collections import Counter, deque

from notify.domain.jobs import EmailAttempt

FEW = 2
LONGEST_RUN = 20


class DomainQueues:
    """
    One queue per recipient domain, served in turn.

    Decided: a domain may use half of the sessions while others wait, else all but one, so that a domain whose server
        hangs leaves a session for others.
    Decided: a session continues with emails to the same domain, so that none waits behind another domain; after
        ``LONGEST_RUN`` emails it is freed if others wait.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[EmailAttempt]] = {}
        self._count = 0
        self._on_sessions: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._count

    def put(self, email: EmailAttempt) -> None:
        """Add an email."""
        self._waiting.setdefault(email.domain, deque()).append(email)
        self._count += 1

    def take(self, *, sessions: int) -> EmailAttempt | None:
        """
        The next email to start a session with; None: none may start now.

        Callers must call ``free`` when that session ends.
        """
        if self._on_sessions.total() >= sessions:
            return None
        most = sessions_for_one(sessions, others_wait=len(self._waiting) > 1)
        for domain in self._waiting:
            if self._on_sessions[domain] < most:
                self._on_sessions[domain] += 1
                return self._next_to(domain)
        return None

    def follow(self, email: EmailAttempt) -> EmailAttempt | None:
        """The email to send next on the same session; None: end the session."""
        domain = email.domain
        if domain not in self._waiting or (email.position >= LONGEST_RUN and len(self._waiting) > 1):
            return None
        following = self._next_to(domain)
        following.position = email.position + 1
        return following

    def free(self, email: EmailAttempt) -> None:
        """The session that began with this email has ended."""
        self._on_sessions[email.domain] -= 1
        if not self._on_sessions[email.domain]:
            del self._on_sessions[email.domain]

    def clear(self) -> list[EmailAttempt]:
        """Remove and return all emails."""
        waiting = [email for queue in self._waiting.values() for email in queue]
        self._waiting.clear()
        self._count = 0
        return waiting

    def _next_to(self, domain: str) -> EmailAttempt:
        """The first email to a domain, whose queue then moves to the end."""
        queue = self._waiting.pop(domain)
        email = queue.popleft()
        if queue:
            self._waiting[domain] = queue
        self._count -= 1
        return email


def sessions_for_one(sessions: int, *, others_wait: bool) -> int:
    """How many of these sessions one domain may use."""
    if sessions <= FEW and not others_wait:
        return sessions
    return (sessions + 1) // 2 if others_wait else sessions - 1
