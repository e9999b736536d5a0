"""
Reports what a worker's processes have imported, from inside: ``--include tests.support.imported_modules``.

The task writes two lists to a file: all modules of its process, and those imported after the fork.
"""

import json
import os
import sys
from pathlib import Path
from types import ModuleType

from notify.worker.app import app

NAME = "tests.imported"
_before_the_fork: set[str] = set()


@app.task(name=NAME)  # type: ignore[untyped-decorator]  # Celery is not typed
def imported(path: str) -> None:
    """Write what this process has imported; the file appears complete."""
    modules: dict[str, ModuleType | None] = dict(sys.modules)  # None blocks an import
    now = {name for name, module in modules.items() if module}
    draft = Path(f"{path}.draft")
    draft.write_text(json.dumps([sorted(now), sorted(now - _before_the_fork)]), encoding="utf-8")
    draft.rename(path)


os.register_at_fork(before=lambda: _before_the_fork.update(sys.modules))
