"""Base class of the errors that notify raises on purpose, and those that several packages share."""

from functools import partial
from inspect import cleandoc
from typing import Any


class NotifyError(Exception):
    """
    notify could not do what was asked.

    The first paragraph of a subclass's docstring is its message; the constructor takes the facts, which are appended.
    """

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        super().__init__(facts)

    def __str__(self) -> str:
        message = cleandoc(type(self).__doc__ or "").split("\n\n", maxsplit=1)[0].replace("\n", " ")
        details = ", ".join(f"{name}: {value}" for name, value in self.facts.items())
        return f"{message} ({details})" if details else message


class Malformed(NotifyError):
    """What was handed in is not well-formed and was refused; nothing of it was stored."""

    def __init__(self, *, field: str, reason: str, index: int | None = None) -> None:
        """
        Args:
            field: Dotted path of the wrong field, such as ``cl.link``.
            reason: What is wrong and what was expected.
            index: Position in its batch, from 0; None outside a batch.
        """
        where = {} if index is None else {"index": index}
        super().__init__(**where, field=field, reason=reason)
        self.field, self.reason, self.index = field, reason, index

    def __reduce__(self) -> tuple[Any, ...]:
        """Celery pickles exceptions, which loses keyword arguments without this."""
        return partial(type(self), field=self.field, reason=self.reason, index=self.index), ()


class MalformedEvent(Malformed):
    """The event is not well-formed and was refused; nothing of it was stored."""


class MalformedStatus(Malformed):
    """The status is not well-formed and was refused; nothing of it was stored."""


class UnsupportedConnection(NotifyError):
    """Events and statuses are stored on sessions and connections of SQLAlchemy, psycopg or asyncpg."""


class NoSuchEvent(NotifyError):
    """No event has this key."""


class NotWithdrawable(NotifyError):
    """notify itself found this; only what an application or a forge emitted is withdrawn."""


class RelayUnavailable(NotifyError):
    """The relay refused to open a session; no email was affected."""


class UnsafeHeader(NotifyError):
    """A header value contains a line break, NUL or another control character."""


class InvalidSettings(NotifyError):
    """The settings are invalid; notify did not start."""

    def __init__(self, *problems: str) -> None:
        """
        Args:
            problems: One sentence each: the variable, its value (never a secret), what was expected.
        """
        super().__init__()
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)
