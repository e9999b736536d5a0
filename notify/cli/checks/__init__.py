"""What ``notify doctor`` looks at: one file for each thing that notify needs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from notify.cli.connect import Deployment


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; why it matters, and the command or setting that fixes it."""

    about: str
    ok: bool
    found: str
    why: str
    fix: str


Check = Callable[[Deployment], Iterable[Finding]]
"""One that reads the database may raise SQLAlchemyError if it does not answer; ``database`` reports that."""
