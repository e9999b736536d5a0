"""
django-post_office, tuned, in an environment of its own: ``python tuned_post_office.py DATABASE PORT EMAILS MESSAGE``.

Migrates, enqueues, prints ``ready``, waits for a line, sends with two processes of eight threads in batches of a
thousand, and prints ``done`` with the seconds of processor time it took.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from tempfile import gettempdir
from typing import Any
from urllib.parse import parse_qs, urlsplit

PROCESSES, THREADS, BATCH = 2, 8, 1_000
SENDER = "notify@example.com"


def configure(database: str, port: int) -> None:
    """Minimal Django settings."""
    url = urlsplit(database)
    query = parse_qs(url.query)
    import_module("django.conf").settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "post_office"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": url.path.lstrip("/"),
                "USER": url.username or "",
                "PASSWORD": url.password or "",
                "HOST": query.get("host", [url.hostname or ""])[0],
                "PORT": query.get("port", [url.port or ""])[0],
            }
        },
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=port,
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        POST_OFFICE={"BATCH_SIZE": BATCH, "THREADS_PER_PROCESS": THREADS, "LOG_LEVEL": 0},
    )
    import_module("django").setup()


def enqueue(emails: int, message: dict[str, Any]) -> None:
    """Enqueue this many emails with the same text, each to another recipient."""
    mail = import_module("post_office.mail")
    for start in range(0, emails, BATCH):
        numbers = range(start, min(start + BATCH, emails))
        mail.send_many([{"recipients": f"person-{n}@example.com", "sender": SENDER, **message} for n in numbers])


def cpu_seconds() -> float:
    """Processor time of this process and of those it has waited for."""
    spent = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def main(database: str, port: str, emails: str, message: str) -> None:
    """Get ready, send everything, print the cost."""
    configure(database, int(port))
    call_command = import_module("django.core.management").call_command
    call_command("migrate", verbosity=0)
    enqueue(int(emails), json.loads(Path(message).read_text(encoding="utf-8")))
    print("ready", flush=True)  # noqa: T201 - what the harness reads
    sys.stdin.readline()
    began = cpu_seconds()
    lock = str(Path(gettempdir()) / f"post_office-{port}")
    call_command("send_queued_mail", processes=PROCESSES, log_level=0, lockfile=lock)
    print("done", cpu_seconds() - began, flush=True)  # noqa: T201 - the same


if __name__ == "__main__":
    main(*sys.argv[1:5])
