"""The installed version, and where the data files are, in the wheel or in a checkout."""

from importlib.metadata import version as version_of
from pathlib import Path

PACKAGE = Path(__file__).parent


def version() -> str:
    return version_of("notify-outbox")


def folder(name: str) -> Path:
    """The folder ``templates`` or ``migrations``."""
    for candidate in (PACKAGE / name, PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(PACKAGE / name)


def newest_migration() -> str:
    """The newest revision in this code, without alembic, which an application that emits need not have."""
    return max(file.name.partition("_")[0] for file in (folder("migrations") / "versions").glob("[0-9]*_*.py"))
