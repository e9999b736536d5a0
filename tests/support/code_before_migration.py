"""The code before the newest migration, from the history of the checkout: what a rolling upgrade replaces."""

from io import BytesIO
from pathlib import Path
from shutil import which
from subprocess import run
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
MIGRATIONS = "migrations/versions"
WHAT_RUNS = ("notify", "templates", "migrations", "celeryconfig.py")


class NoHistory(Exception):
    """The history of the checkout does not go back far enough."""


def unpack(into: Path) -> None:
    """
    Put the code that does not know the newest migration into a folder.

    Raises:
        NoHistory: There is no checkout, or its history is too short, or the baseline was rewritten after the
            newest migration, so that no such upgrade ever happened.
    """
    newest = max(path.name for path in (ROOT / MIGRATIONS).glob("*.py"))
    added = _git("log", "--no-renames", "--diff-filter=A", "--format=%H", "-1", "--", f"{MIGRATIONS}/{newest}")
    archive = _git("archive", "--format=zip", f"{added.decode().strip()}^", *WHAT_RUNS)
    with ZipFile(BytesIO(archive)) as packed:
        packed.extractall(into)
    assert not (into / MIGRATIONS / newest).exists()
    ours = _statements(ROOT)
    if _statements(into) != {name: ours[name] for name in ours if name != newest}:
        raise NoHistory(f"the baseline was rewritten after {newest}")


def _statements(checkout: Path) -> dict[str, list[str]]:
    """The statements of each migration, without comments, by file."""
    found = {path.name: path.read_text(encoding="utf-8") for path in (checkout / MIGRATIONS).glob("*.py")}
    return {
        name: [line for line in source.partition("revision =")[2].splitlines() if "COMMENT ON" not in line]
        for name, source in found.items()
    }


def _git(*arguments: str) -> bytes:
    git = which("git")
    if git is None:
        raise NoHistory("git is not installed")
    done = run((git, "-C", str(ROOT), *arguments), capture_output=True, check=False)
    if done.returncode or not done.stdout:
        raise NoHistory(done.stderr.decode())
    return done.stdout
