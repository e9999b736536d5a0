"""
Build a virtual environment from a lock, and say how far it is: ``python .ci/install.py .venv requirements-dev.lock``.

pip by itself is silent for minutes with ``--quiet``, and prints a thousand lines without. Standard library only.
"""

import os
import re
import sys
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from subprocess import PIPE, STDOUT, Popen, run
from time import monotonic

ENDED = 40
"""Lines of pip's output that are shown when it fails."""


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
    install(pip, "--require-hashes", "--no-deps", "-r", lock, total=total)
    install([python, "-m", "pip"], "--no-build-isolation", "--no-deps", "--editable", ".")
    print(f"  done in {monotonic() - began:.0f} s", flush=True)


def install(pip: list[str], *what: str, total: int = 0) -> None:
    """Run pip, with a line each time that another tenth of *total* packages has been downloaded."""
    command = [*pip, "--disable-pip-version-check", "--no-input", "install", "--progress-bar", "off", *what]
    step, seen, last = max(1, total // 10), 0, deque[str](maxlen=ENDED)
    with Popen(command, stdout=PIPE, stderr=STDOUT, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        for line in process.stdout or ():
            last.append(line)
            if line.startswith(("Collecting ", "Processing ", "Ignoring ", "Requirement already")):
                seen += 1
                if total and seen % step == 0:
                    print(f"  downloaded {seen} of {total}", flush=True)
            elif total and line.startswith("Installing collected"):
                print("  unpacking them", flush=True)
    if process.returncode:
        sys.exit("".join(last))


if __name__ == "__main__":
    main(*sys.argv[1:])
