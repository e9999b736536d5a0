"""
Build a virtual environment from a lock, and say how far it is: ``python .ci/install.py .venv requirements-dev.lock``.

pip by itself is silent for minutes with ``--quiet``, and prints a thousand lines without. Standard library only.
"""

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from subprocess import STDOUT, Popen, TimeoutExpired, run
from tempfile import NamedTemporaryFile
from time import monotonic

LAST_LINES = 40
COUNTED = re.compile(r"^(Collecting|Processing|Ignoring) ", re.MULTILINE)


def main(venv: str, lock: str) -> None:
    began = monotonic()
    python = str(Path(venv) / "bin" / "python")
    total = len(re.findall(r"^\S+==", Path(lock).read_text(encoding="utf-8"), re.MULTILINE))
    rmtree(venv, ignore_errors=True)
    # A Python without ensurepip (Debian without python3-venv) still has its own pip, which can fill a bare environment.
    has_pip = find_spec("ensurepip") is not None
    run([sys.executable, "-m", "venv", *([] if has_pip else ["--without-pip"]), venv], check=True)
    pip = [python, "-m", "pip"] if has_pip else [sys.executable, "-m", "pip", "--python", python]
    print(f"Installing {total} packages from {lock} into {venv}", flush=True)
    install(pip, "--require-hashes", "--no-deps", "-r", lock, describe=partial(progress, Path(venv), total))
    install([python, "-m", "pip"], "--no-build-isolation", "--no-deps", "--editable", ".")
    print(f"  done in {monotonic() - began:.0f} s", flush=True)


def install(pip: list[str], *what: str, describe: Callable[[str], str] = lambda _: "") -> None:
    """Run pip, and print what *describe* says of its output so far whenever that changes."""
    command = [*pip, "--disable-pip-version-check", "--no-input", "install", "--progress-bar", "off", *what]
    last = ""
    with NamedTemporaryFile() as output:
        process = Popen(command, stdout=output, stderr=STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        while process.poll() is None:
            with suppress(TimeoutExpired):
                process.wait(1)
            line = describe(Path(output.name).read_text(encoding="utf-8", errors="replace"))
            if line not in {last, ""}:
                print(last := line, flush=True)
        if process.returncode:
            text = Path(output.name).read_text(encoding="utf-8", errors="replace")
            sys.exit("\n".join(text.splitlines()[-LAST_LINES:]))


def progress(venv: Path, total: int, output: str) -> str:
    """How many packages are downloaded, then how many are installed, in steps of a tenth."""
    step = max(1, total // 10)
    if "Installing collected" in output:
        installed = len(list(venv.glob("lib/python*/site-packages/*.dist-info")))
        return f"  installed {installed // step * step} of {total}"
    return f"  downloaded {len(COUNTED.findall(output)) // step * step} of {total}"


if __name__ == "__main__":
    main(*sys.argv[1:])
