"""What ``notify doctor`` looks at: one file for each thing that notify needs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from notify.cli.place import Place


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; why it matters, and the command or setting that mends it."""

    about: str
    ok: bool
    found: str
    why: str
    mend: str


Check = Callable[[Place], Iterable[Finding]]
"""Those that read the database raise SQLAlchemyError if it does not answer, which the first of them says."""
