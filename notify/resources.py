"""Where the files that travel with notify are: inside the wheel, or beside the package in a checkout."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """
    The folder ``templates`` or ``migrations``.

    Raises:
        FileNotFoundError: The installation is incomplete.
    """
    for candidate in (PACKAGE / name, PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(PACKAGE / name)
