"""
``python -m notify.worker``: Celery's worker, with the options of ``celery worker``.

``celery -A notify.worker.app worker`` is the same worker and takes 25 MB more: Celery's command first imports
what its other commands and its plug-ins need, Flower's web server among it.
"""

import sys

# Celery, kombu and structlog import these wherever they are installed: for colours that no worker shows, and for
# messages in other formats than the one that is accepted, JSON.
for name in ("msgpack", "pygments", "rich", "yaml"):
    sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # the import system's own sign for "not here"

from celery.bin.base import CLIContext  # noqa: E402
from celery.bin.worker import worker  # noqa: E402

from notify.worker.app import app  # noqa: E402

if __name__ == "__main__":
    context = CLIContext(app=app, no_color=None, workdir=None)
    worker.main(prog_name="python -m notify.worker", obj=context, auto_envvar_prefix="CELERY_WORKER")
