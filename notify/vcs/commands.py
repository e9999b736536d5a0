"""Runs git: an argument vector without a shell, no prompt, no hooks, a time limit, and nothing secret in its words."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from re import search
from types import MappingProxyType

from notify.domain.head_ports import SourceControlUnavailable

OLDEST_GIT = (2, 31)
PROTOCOLS = "https:http:ssh:git:file"
LONGEST_WORDS = 200
# A repository on disk may hold hooks and settings of strangers; ours take precedence.
SAFE = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "safe.bareRepository=all",  # mirrors are bare, and ours
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "gc.auto=0",  # commits that were rewritten away are still asked for
    "maintenance.auto=false",
    "protocol.ext.allow=never",
    "advice.detachedHead=false",
)
ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "SSH_ASKPASS": "true",
        "GIT_ALLOW_PROTOCOL": PROTOCOLS,
        "LC_ALL": "C",
    }
)
KEPT = frozenset({"GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_EXEC_PATH"})
BATCH_SSH = "ssh -o BatchMode=yes"
LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Answer:
    """What git said. ``status`` is its exit code."""

    status: int
    output: str
    words: str


@dataclass(frozen=True, slots=True)
class Git:
    """
    Git in one folder.

    Args:
        seconds: How long a command may take.
    """

    folder: Path
    seconds: float

    def run(self, *arguments: str, accepted: Sequence[int] = (0,)) -> Answer:
        """
        Raises:
            SourceControlUnavailable: Git answered with another exit code, not in time, or is not installed.
        """
        answer = self.ask(*arguments)
        if answer.status not in accepted:
            raise SourceControlUnavailable(command=arguments[0], exit_code=answer.status, words=answer.words)
        return answer

    def ask(self, *arguments: str) -> Answer:
        """Whatever git answers; raises as ``run`` does when there is no answer."""
        try:
            process = subprocess.Popen(  # noqa: S603 - an argument vector
                ["git", *(word for one in SAFE for word in ("-c", one)), *arguments],  # noqa: S607 - the PATH's git
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # so that its helpers end with it
            )
        except OSError as error:
            raise SourceControlUnavailable(command=arguments[0], words=error.strerror or "git cannot be run") from None
        try:
            output, words = process.communicate(timeout=self.seconds)
        except subprocess.TimeoutExpired:
            raise SourceControlUnavailable(command=arguments[0], words=f"no answer in {self.seconds:g} s") from None
        finally:
            _end(process)
        return Answer(process.returncode, output.decode(errors="replace"), _in_short(words))


def version(*, seconds: float) -> str:
    """
    What git says of its version.

    Raises:
        SourceControlUnavailable: It is not installed.
    """
    return Git(Path.cwd(), seconds).run("--version").output.strip()


def is_new_enough(stated: str) -> bool:
    """Whether git of this version can do what we ask of it."""
    numbers = search(r"(\d+)\.(\d+)", stated)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= OLDEST_GIT


def is_usable(*, seconds: float) -> bool:
    """Whether git is installed, works, and is new enough."""
    try:
        return is_new_enough(version(seconds=seconds))
    except SourceControlUnavailable:
        return False


def environment() -> dict[str, str]:
    """Our variables without those that would lead into another repository, such as GIT_DIR; loopback needs no proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in KEPT}
    kept.setdefault("GIT_SSH_COMMAND", BATCH_SSH)
    direct = kept.get("no_proxy") or kept.get("NO_PROXY") or ""
    if direct != "*":
        kept["no_proxy"] = ",".join(filter(None, (direct, *LOOPBACK)))
    return {**kept, **ENVIRONMENT}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the command and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _in_short(words: bytes) -> str:
    """The last line that git wrote, without the addresses in it, which may hold a password."""
    lines = [line for line in words.decode(errors="replace").splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "")
    return " ".join("(address)" if "://" in word else word for word in last.split())[:LONGEST_WORDS]
