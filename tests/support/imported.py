"""
What a worker's processes have imported, told from inside: ``--include tests.support.imported``.

The task writes two lists to a file: the modules of its process, and those that came after the fork.
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
    """Write what this process has imported; the file appears whole."""
    modules: dict[str, ModuleType | None] = dict(sys.modules)  # None: not to be imported
    now = {name for name, module in modules.items() if module}
    draft = Path(f"{path}.draft")
    draft.write_text(json.dumps([sorted(now), sorted(now - _before_the_fork)]), encoding="utf-8")
    draft.rename(path)


os.register_at_fork(before=lambda: _before_the_fork.update(sys.modules))
