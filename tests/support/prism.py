"""
Prism, which plays GitHub by GitHub's own OpenAPI description and refuses what the description does not allow.

It is no package of this project: ``npm install @stoplight/prism-cli @octokit/openapi`` somewhere, and name the folder
``node_modules`` there in NOTIFY_TEST_NODE_MODULES.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which
from socket import create_connection
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from notify.embedded.ports import LOOPBACK, free_port
from notify.embedded.processes import spawn, stop, wait_until_ready

NODE = which("node")
PACKAGES = Path(os.environ.get("NOTIFY_TEST_NODE_MODULES") or "node_modules")
PRISM = PACKAGES / "@stoplight/prism-cli/dist/index.js"
DESCRIPTION = PACKAGES / "@octokit/openapi/generated/api.github.com.json"
START_SECONDS = 60
STATED, ACCEPTED = "application/json", "application/vnd.github+json"

needs_prism = pytest.mark.skipif(
    NODE is None or not PRISM.is_file() or not DESCRIPTION.is_file(),
    reason="node is not installed, or NOTIFY_TEST_NODE_MODULES names no folder with @stoplight/prism-cli"
    " and @octokit/openapi",
)


@contextmanager
def prism(paths: Sequence[str]) -> Iterator[str]:
    """
    Prism's URL.

    Args:
        paths: Of the description; the whole of it would take Prism half a minute to read.
    """
    port = free_port()
    with TemporaryDirectory(prefix="prism-") as folder:
        document, log = Path(folder) / "github.json", Path(folder) / "log"
        document.write_text(json.dumps(_cut(json.loads(DESCRIPTION.read_text(encoding="utf-8")), paths)))
        command = [str(NODE), str(PRISM), "mock", "--host", LOOPBACK, "--port", str(port), str(document)]
        process = spawn(command, log=log)
        try:
            wait_until_ready(process, lambda: _answers(port), log=log, seconds=START_SECONDS)
            yield f"http://{LOOPBACK}:{port}"
        finally:
            stop(process)


def _answers(port: int) -> bool:
    with suppress(OSError), create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


def _cut(description: dict[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The description of these paths with every component that they refer to."""
    kept: dict[str, Any] = {"openapi": description["openapi"], "info": description["info"], "components": {}}
    kept["paths"] = {path: description["paths"][path] for path in paths}
    missing = _references(kept["paths"])
    while missing:
        _, _, kind, name = missing.pop().split("/")
        if name not in kept["components"].setdefault(kind, {}):
            kept["components"][kind][name] = description["components"][kind][name]
            missing |= _references(kept["components"][kind][name])
    widened: dict[str, Any] = _accepting(kept)
    return widened


def _accepting(value: Any) -> Any:
    """
    With the media type that GitHub asks its callers to accept, beside the one that it names in the description, and
    without the headers of the answers, whose examples name further pages elsewhere.

    Source: GitHub, "Getting started with the REST API", Accept.
    """
    if isinstance(value, list):
        return [_accepting(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: _accepting(one) for name, one in value.items() if name != "headers"}
    return found | {ACCEPTED: found[STATED]} if STATED in found else found


def _references(value: object) -> set[str]:
    if isinstance(value, dict):
        named = value.get("$ref")
        here = {named} if isinstance(named, str) else set()
        return here.union(*map(_references, value.values()))
    return set().union(*map(_references, value)) if isinstance(value, list) else set()
