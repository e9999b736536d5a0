"""``notify statuses publish``: say what is to be shown on a commit, from a script or a CI program."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, BadParameter, Option

from notify.cli.connect import connect
from notify.cli.output import AsJson, console, print_json
from notify.domain.stages import STATUSES
from notify.domain.statuses import CHECK_STATES, GITEA_STATES, BuildProgress, StatusKind
from notify.statuses.builds import of_build
from notify.statuses.publish import publish as store
from notify.statuses.schema import parse


class BuildOption(StrEnum):
    """How far a build is, as it is typed."""

    STARTED = "started"
    SUCCESS = "success"
    FAILURE = "failure"
    TIMED_OUT = "timed-out"
    SKIPPED = "skipped"
    UNEXPECTED_ERROR = "unexpected-error"


STATES = f"Of a status: {', '.join(sorted(GITEA_STATES))}. Of a check_run: {', '.join(sorted(CHECK_STATES))}."


def publish(
    forge: Annotated[str, Argument(metavar="FORGE", help="Name of the forge in NOTIFY_FORGES_FILE.")],
    repository: Annotated[str, Argument(metavar="OWNER/NAME", help="The repository.")],
    sha: Annotated[str, Argument(metavar="HASH", help="The full hash of the commit.")],
    context: Annotated[str, Argument(metavar="CONTEXT", help="Names the status on its commit, such as ci/build.")],
    state: Annotated[str | None, Argument(metavar="STATE", help=STATES)] = None,
    *,
    build: Annotated[
        BuildOption | None,
        Option(metavar="PROGRESS", help=f"Instead of a state, how far a build is: {', '.join(BuildOption)}."),
    ] = None,
    kind: Annotated[
        StatusKind, Option(metavar="KIND", help="status or check_run; a check run needs a GitHub App.")
    ] = StatusKind.STATUS,
    description: Annotated[str | None, Option(metavar="TEXT", help="One line.")] = None,
    url: Annotated[str | None, Option(metavar="URL", help="Where people read more.")] = None,
    output: Annotated[
        Path | None,
        Option(metavar="FILE", help="What a check run says: JSON with title, summary, text, annotations. - reads it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Show a status on a commit; it replaces what was wanted there before under this context.

    It is stored, and a worker shows it. `notify statuses show ID` says what became of it.
    """
    if (state is None) == (build is None):
        message = "expected either STATE or --build"
        raise BadParameter(message)
    target: dict[str, Any] = {
        "forge": forge,
        "repository": repository,
        "sha": sha,
        "context": context,
        "kind": kind,
        "description": description,
        "target_url": url,
        "output": None if output is None else _read(output),
    }
    wanted = parse({**target, "state": state} if build is None else of_build(target, BuildProgress[build.name]))
    with connect() as deployment:
        with deployment.database.begin() as connection:
            (receipt,) = store(connection, [wanted])
        deployment.doorbell.ring(STATUSES)
    if as_json:
        print_json(receipt)
    else:
        console.print(f"status {receipt.id} is due, in version {receipt.version}")


def _read(file: Path) -> object:
    """
    Raises:
        BadParameter: It cannot be read, or is no JSON.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        message = f"{file}: {error.strerror}"
    except (ValueError, RecursionError):
        message = f"{file}: expected JSON in UTF-8"
    raise BadParameter(message) from None
