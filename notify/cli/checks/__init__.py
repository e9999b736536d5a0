"""The checks of ``notify doctor``: one file for each thing that notify needs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from notify.cli.connect import Deployment


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked; why it matters, and the command or setting that fixes it."""

    about: str
    ok: bool
    found: str
    why: str
    fix: str


Check = Callable[[Deployment], Iterable[Finding]]
"""A check that reads the database may raise SQLAlchemyError; ``database`` reports that it does not answer."""
