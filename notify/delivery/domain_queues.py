"""Emails that wait in this process, in fair order: no domain of recipients delays another."""

from collections import Counter, deque

from notify.domain.jobs import EmailAttempt

FEW = 2
LONGEST_RUN = 20


class DomainQueues:
    """
    A queue for each domain of recipients. The queues take turns.

    Decided: a domain may use half of the sessions while emails to others wait, and all but one
        while none do: a domain that has gone silent leaves a session for those that come later.
    Decided: on a session an email is followed by one to the same domain, so that no email waits
        behind another domain's; after a while, if others wait, the session is free for them.
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
        The email whose turn it is to be the first on a session; None when none may go now.

        Callers must call ``free`` when its session is free again.
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
        """The email that goes after this one on the same session; None when the session should be free."""
        domain = email.domain
        if domain not in self._waiting or (email.position >= LONGEST_RUN and len(self._waiting) > 1):
            return None
        following = self._next_to(domain)
        following.position = email.position + 1
        return following

    def free(self, email: EmailAttempt) -> None:
        """The session that began with this email is free."""
        self._on_sessions[email.domain] -= 1
        if not self._on_sessions[email.domain]:
            del self._on_sessions[email.domain]

    def clear(self) -> list[EmailAttempt]:
        """Take all emails out."""
        waiting = [email for queue in self._waiting.values() for email in queue]
        self._waiting.clear()
        self._count = 0
        return waiting

    def _next_to(self, domain: str) -> EmailAttempt:
        """The first of a queue, whose turn is then the last."""
        queue = self._waiting.pop(domain)
        email = queue.popleft()
        if queue:
            self._waiting[domain] = queue
        self._count -= 1
        return email


def sessions_for_one(sessions: int, *, others_wait: bool) -> int:
    """How many of so many sessions one domain may use."""
    if sessions <= FEW and not others_wait:
        return sessions
    return (sessions + 1) // 2 if others_wait else sessions - 1
