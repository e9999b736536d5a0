"""Postfix's ``smtp-sink`` and ``smtp-source``: those on the PATH, else Debian's package unpacked for the run."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import environ, pathsep
from pathlib import Path
from shutil import which
from subprocess import CalledProcessError, TimeoutExpired, run

from notify.domain.errors import NotifyError

SINK, SOURCE = "smtp-sink", "smtp-source"
PACKAGE = "postfix"
MISSING = f"{SOURCE} is not installed and could not be fetched (Debian: {PACKAGE})"
FETCH_SECONDS = 60
EXECUTABLE = 0o755
WRAPPER = """\
#!/bin/sh
LD_LIBRARY_PATH="{libraries}" exec "{program}" "$@"
"""


class NotFetched(NotifyError):
    """Debian's package could not be downloaded, or its programs do not run here."""


@contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """
    Both programs are on the PATH during the block, if they are available at all; nothing is installed on the machine.

    Args:
        folder: For downloads.
    """
    before = environ["PATH"]
    if not (which(SINK) and which(SOURCE)):
        try:
            environ["PATH"] = pathsep.join((str(fetched(folder / PACKAGE)), before))
        except NotFetched:
            environ["PATH"] = before
    try:
        yield
    finally:
        environ["PATH"] = before


def fetched(folder: Path) -> Path:
    """
    A folder with both programs, each with the libraries of its package.

    Raises:
        NotFetched: The package cannot be downloaded, or a library is missing on the machine.
    """
    programs = folder / "bin"
    programs.mkdir(parents=True)
    _done(["apt-get", "download", "--quiet", PACKAGE], folder)
    for package in folder.glob("*.deb"):
        _done(["dpkg", "--extract", package.name, "."], folder)
    for name in (SINK, SOURCE):
        wrapper = programs / name
        libraries, program = folder / "usr" / "lib" / "postfix", folder / "usr" / "sbin" / name
        wrapper.write_text(WRAPPER.format(libraries=libraries, program=program), encoding="utf-8")
        wrapper.chmod(EXECUTABLE)
        said = _said(wrapper)
        if "usage" not in said:
            raise NotFetched(program=name, because=said)
    return programs


def _done(command: list[str], folder: Path) -> None:
    try:
        run(command, check=True, capture_output=True, timeout=FETCH_SECONDS, cwd=folder)
    except (OSError, CalledProcessError, TimeoutExpired) as error:
        raise NotFetched(because=str(error)) from None


def _said(program: Path) -> str:
    """The program's output without arguments."""
    return run([program], check=False, capture_output=True, timeout=FETCH_SECONDS).stderr.decode(errors="replace")
