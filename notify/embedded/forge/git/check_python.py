"""
The build of the embedded queue: a head is green if all Python in it compiles. Run in a checkout of the head.

It reads the files and runs none, since everybody on this machine may push to the embedded forge.
"""

import ast
import json
import os
import sys
from collections import Counter
from pathlib import Path


def main() -> int:
    """Says how broken each top folder is, and which files are; the exit code."""
    files = [one for one in sorted(Path().rglob("*.py")) if one.is_file() and not one.is_symlink()]
    faults = {one: fault for one in files if (fault := _fault(one))}
    for file, fault in faults.items():
        print(f"{file}: {fault}")  # noqa: T201 - the output of the build
    print(f"{len(files) - len(faults)} of {len(files)} files compile.")  # noqa: T201
    in_all, broken = (Counter(one.parts[0] for one in found if len(one.parts) > 1) for found in (files, faults))
    degrees = {project: broken[project] / number for project, number in in_all.items()}
    Path(os.environ["PROJECTS_FILE"]).write_text(json.dumps(degrees), encoding="utf-8")
    return 1 if faults else 0


def _fault(file: Path) -> str:
    try:
        ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__
    return ""


if __name__ == "__main__":
    sys.exit(main())
