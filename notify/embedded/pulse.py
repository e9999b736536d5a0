"""Whether a process still answers: asked again and again from a thread, so that nobody waits for one that hangs."""

from http.client import HTTPException
from threading import Event, Thread
from urllib.request import ProxyHandler, build_opener

UNANSWERED = 4
START_SECONDS = 60


class Pulse:
    """
    Asks a process for its health every few seconds, and is patient until its first answer.

    Counts questions and not seconds: a supervisor that was stopped for a while asks before it judges.

    Args:
        url: Answers 2xx as long as the process does well.
        seconds: The pause between two questions, and the longest that an answer may take.
    """

    def __init__(self, url: str, *, seconds: float) -> None:
        self._url = url
        self._seconds = seconds
        self._opener = build_opener(ProxyHandler({}))
        self._over = Event()
        self._unanswered = -int(START_SECONDS / seconds)
        self._thread = Thread(target=self._ask_on, name=f"pulse of {url}", daemon=True)

    @property
    def stopped(self) -> bool:
        """Whether the process has left so many questions in a row without an answer."""
        return self._unanswered >= UNANSWERED

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def end(self) -> None:
        """Ask no more."""
        self._over.set()

    def _ask_on(self) -> None:
        while not self._over.wait(self._seconds):
            self._unanswered = 0 if self._answers() else self._unanswered + 1

    def _answers(self) -> bool:
        try:
            self._opener.open(self._url, timeout=self._seconds).close()
        except (OSError, HTTPException):
            return False
        return True
