"""
``python -m notify.worker``: Celery's worker, with the options of ``celery worker``.

``celery -A notify.worker.app worker`` runs the same worker but uses 25 MB more: Celery's command first imports
everything for its other commands and plug-ins, including Flower's web server.
"""

import sys

# Celery, kombu and structlog import these if installed, but a worker needs neither colours nor formats other than JSON.
for name in ("msgpack", "pygments", "rich", "yaml"):
    sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None makes the import fail

from celery.bin.base import CLIContext  # noqa: E402
from celery.bin.worker import worker  # noqa: E402

from notify.worker.app import app  # noqa: E402

# Kombu has asked by now; who reads entries may need it.
if not sys.modules.get("yaml"):
    del sys.modules["yaml"]

if __name__ == "__main__":
    context = CLIContext(app=app, no_color=None, workdir=None)
    worker.main(prog_name="python -m notify.worker", obj=context, auto_envvar_prefix="CELERY_WORKER")
