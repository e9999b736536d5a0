"""The wheel is complete without a checkout; production needs no embedded extra; locks contain no index addresses."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from subprocess import PIPE, run
from sys import executable, stdlib_module_names
from sysconfig import get_path
from zipfile import ZipFile

import pytest
from packaging.utils import canonicalize_name
from redis import Redis
from sqlalchemy import select

from notify.cli import CLI, EXTRA_OF
from notify.cli.commands import COMMANDS
from notify.store.database import Database
from notify.store.tables.emails import events
from tests.support.bare_install import NAME, ROOT, BareInstalls, asked_for
from tests.support.servers import in_words

Install = Callable[..., Path]
PRODUCTION, EMBEDDED, DEVELOPMENT = "requirements.lock", "requirements-embedded.lock", "requirements-dev.lock"
PINNED = re.compile(
    r"^([a-z0-9-]+)==([0-9][0-9a-z.+]*)( ; [a-z_]+ [<>=!]+ '[\w.]+'( (and|or) [a-z_]+ [<>=!]+ '[\w.]+')*)? \\$"
)
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
# Modules that emitting an event never imports, installed or not.
OF_OTHERS = {
    *(
        "aiosmtplib",
        "alembic",
        "babel",
        "cmarkgfm",
        "css_inline",
        "fastapi",
        "flower",
        "grpc",
        "httpx",
        "jinja2",
        "jwt",
        "nh3",
    ),
    *("prometheus_client", "rich", "starlette", "structlog", "tornado", "typer", "uvicorn", "uvloop"),
}
WHOLE = {
    "NOTIFY_DATABASE_URL": "postgresql://notify@127.0.0.1:1/notify",
    "NOTIFY_BROKER_URL": "redis://127.0.0.1:1/0",
    "NOTIFY_SMTP_URL": "smtp://127.0.0.1:1",
    "NOTIFY_MAIL_FROM": "notify@example.com",
    "NOTIFY_PUBLIC_URL": "https://notify.example.com",
    "NOTIFY_SECRET_KEYS": "k" * 32,
}
# In one process, since the start of each takes half a second.
COMMAND_LINES = """
import sys
from notify.cli import main
expected, *lines = sys.argv[1:]
for line in lines:
    sys.argv = ["notify", *line.split()]
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    assert code == int(expected), line
"""
CODE_OF_A_WORKER = """
from importlib import import_module
from notify import wiring
from notify.settings import load
from notify.worker import __main__, bootstrap, tasks
for module in bootstrap.IMPORT_BEFORE_FORK:
    import_module(module)
wiring.channels(load())
"""
CODE_OF_A_GRPC_SERVER = """
from notify import forges_file, wiring
from notify.rpc import server
from notify.settings import load
from notify.vcs import git
wiring.ingest(load(), wiring.database(load()))
"""
PARTS = {
    "worker": CODE_OF_A_WORKER,
    "api": "from notify.api.app import create_app; create_app()",
    "flower": "import flower.command, notify.worker.app, notify.worker.tasks",
    "grpc": CODE_OF_A_GRPC_SERVER,
    "embedded": "import notify.embedded.stack, notify.cli.demo, notify.embedded.catcher",
}
"""What runs with this extra besides commands."""
CODE_THAT_EMITS = """
import json, sys
import psycopg
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
import notify
from notify.wiring import process_doorbell
url, link, others = sys.argv[1:]
event = {"type": "cl.created", "actor": "dana", "cl": {"link": link, "author": "alice"}}
with psycopg.connect(url) as connection:
    notify.emit(connection, event | {"key": f"{link}-psycopg"})
with Session(create_engine(url.replace("postgresql", "postgresql+psycopg", 1))) as session:
    notify.emit(session, event | {"key": f"{link}-sqlalchemy"})
    session.commit()
process_doorbell().flush(at_most_seconds=10)
print(json.dumps([name for name in others.split() if name in sys.modules]))
"""


@pytest.fixture(scope="module")
def install(bare_installs: BareInstalls) -> Install:
    """The programs of an environment with the wheel, its requirements for these extras, and nothing else."""
    return lambda *extras: bare_installs.programs(f"{NAME}[{','.join(extras)}]")


@pytest.fixture(scope="module")
def unpacked(bare_installs: BareInstalls) -> Path:
    """The wheel's contents in a folder of their own."""
    return bare_installs.installed


def installed(
    unpacked: Path, tmp_path: Path, code: str, *, settings: Mapping[str, str] | None = None, argv: Sequence[str] = ()
) -> str:
    """
    What the code prints where the wheel is installed and no checkout is near.

    Without ``site``, so that an editable installation of the checkout is not found.
    """
    begin = f"import sys; sys.path[:0] = [{str(unpacked)!r}, {get_path('platlib')!r}]\n"
    environment = {"PATH": os.environ["PATH"], "COLUMNS": "100", **(settings or {})}
    command = [executable, "-I", "-S", "-c", begin + code, *argv]
    return run(command, cwd=tmp_path, env=environment, check=True, stdout=PIPE, text=True).stdout


def files(folder: str) -> Iterator[str]:
    for path in (ROOT / folder).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(ROOT).as_posix()


def pins(lock: str) -> dict[str, str]:
    """Package to version."""
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    return {found[1]: found[2] for line in lines if (found := PINNED.match(line))}


def said(
    program: Path | str, *words: str, settings: Mapping[str, str] | None = None, code: int = 0, cwd: Path | None = None
) -> str:
    """The output of a program of such an environment, which must end with this code."""
    environment = {"PATH": os.environ["PATH"], "COLUMNS": "100", **(settings or {})}
    ended = run([str(program), *words], cwd=cwd, env=environment, check=False, capture_output=True, text=True)
    assert ended.returncode == code, ended.stderr
    return ended.stdout if code == 0 else ended.stderr


def needs(what: str, extra: str) -> str:
    """A pattern for the sentence that names the missing extra."""
    return rf"notify: {what} needs \w+, which is not installed: pip install 'notify-outbox\[{extra}\]'\n"


def test_the_wheel_contains_everything_that_notify_reads(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        carried = set(archive.namelist())
    assert {f"notify/{name}" for folder in ("templates", "migrations") for name in files(folder)} <= carried
    assert set(files("notify")) <= carried
    assert {"notify/celeryconfig.py", "notify/py.typed"} <= carried


def test_the_wheel_contains_nothing_else_of_the_checkout(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        assert {name.partition("/")[0].partition("-")[0] for name in archive.namelist()} == {"notify", "notify_outbox"}


def test_the_command_is_installed_under_its_name(unpacked: Path) -> None:
    (entry_points,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "notify = notify.cli:main" in entry_points.read_text(encoding="utf-8").splitlines()


def test_files_are_found_inside_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    code = "from notify.resources import folder; print(folder('templates'), folder('migrations'))"
    assert installed(unpacked, tmp_path, code).split() == [
        str(unpacked / "notify" / "templates"),
        str(unpacked / "notify" / "migrations"),
    ]


def test_celery_is_configured_without_a_checkout(unpacked: Path, tmp_path: Path) -> None:
    code = """
import json
from notify.worker.app import app
app.loader.import_default_modules()
tasks = sorted(name for name in app.tasks if name.startswith("notify."))
print(json.dumps([tasks, sorted(queue.name for queue in app.conf.task_queues), "celeryconfig" in sys.modules]))
"""
    found = json.loads(installed(unpacked, tmp_path, code, settings={"NOTIFY_BROKER_URL": "redis://127.0.0.1:6379/0"}))
    tasks = [
        "notify.deliver",
        "notify.fan_out",
        "notify.heads",
        "notify.inbox",
        "notify.receive",
        "notify.reconcile",
        "notify.statuses",
        "notify.upkeep.prune",
        "notify.upkeep.redeliver",
        "notify.upkeep.stats",
        "notify.webhooks",
    ]
    queues = [
        "notify.deliver",
        "notify.fan_out",
        "notify.heads",
        "notify.inbox",
        "notify.reconcile",
        "notify.statuses",
        "notify.upkeep",
        "notify.webhooks",
    ]
    assert found == [tasks, queues, False]


def test_emails_and_pages_are_rendered_without_a_checkout(unpacked: Path, tmp_path: Path) -> None:
    code = """
from notify.http.pages import Pages
from notify.cli import main
Pages().render("message", {"title": "", "detail": "", "settings_url": None})
sys.argv = ["notify", "preview", "--json"]
main()
"""
    email = json.loads(installed(unpacked, tmp_path, code))
    assert "commented on CL-4821" in email["text"]
    assert ">CL-4821</strong>" in email["html"]


def test_the_schema_is_migrated_without_a_checkout(
    unpacked: Path, tmp_path: Path, unmigrated_database_url: str
) -> None:
    code = "from notify.cli import main; sys.argv = ['notify', 'migrate', '--json']; main()"
    settings = {"NOTIFY_DATABASE_URL": unmigrated_database_url}
    assert json.loads(installed(unpacked, tmp_path, code, settings=settings))["from"] is None


@pytest.mark.parametrize("everything", [False, True], ids=["bare", "everything"])
def test_emitting_needs_only_the_base_install_and_imports_no_extra(
    install: Install, database: Database, broker_url: str, tmp_path: Path, *, everything: bool
) -> None:
    python = executable if everything else install() / "python"
    url, link = in_words(database.engine.url), f"CL-{tmp_path.name}"
    imported = said(
        python,
        "-I",
        "-c",
        CODE_THAT_EMITS,
        url,
        link,
        " ".join(sorted(OF_OTHERS)),
        settings={"NOTIFY_BROKER_URL": broker_url},
    )

    assert json.loads(imported) == []
    with database.begin() as connection:
        assert set(connection.scalars(select(events.c.key))) == {f"{link}-psycopg", f"{link}-sqlalchemy"}
    with closing(Redis.from_url(broker_url)) as client:
        assert client.llen("notify.fan_out")


def test_to_import_notify_costs_an_application_modules_of_its_own_only() -> None:
    code = "import sys; before = set(sys.modules); import notify; print(*set(sys.modules) - before)"
    imported = said(executable, "-c", code, cwd=ROOT).split()
    others = [name for name in imported if name.partition(".")[0] not in stdlib_module_names | {"notify"}]
    assert others == []
    assert len([name for name in imported if name.startswith("notify")]) < 10


def test_a_command_without_its_extra_ends_with_one_sentence(install: Install, tmp_path: Path) -> None:
    sentence = said(install() / "notify", "--help", code=2, cwd=tmp_path)
    assert re.fullmatch(needs("the command line", "cli"), sentence)


@pytest.mark.parametrize(
    ("extras", "needed"),
    [
        ((), {"migrate": "cli", "preview": "worker"}),
        (("cli",), {"preview --json": "worker", "relays list": "worker", "token create": "api", "grpc": "grpc"}),
        (("worker",), {"up": "embedded"}),
        (("api",), {"send-test dana@example.com": "worker"}),
    ],
)
def test_a_command_without_its_extra_names_it(
    install: Install, extras: Sequence[str], needed: Mapping[str, str], tmp_path: Path
) -> None:
    ended = run(
        [str(install(*extras) / "python"), "-I", "-c", COMMAND_LINES, "2", *needed],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        check=True,
        stderr=PIPE,
        text=True,
    )
    sentences = [needs(command.split(maxsplit=1)[0], extra) for command, extra in needed.items()]
    assert re.fullmatch("".join(sentences), ended.stderr)


@pytest.mark.parametrize("extra", sorted({*PARTS, *EXTRA_OF.values(), CLI}))
def test_each_extra_has_what_its_part_and_the_commands_that_name_it_need(
    install: Install, extra: str, tmp_path: Path
) -> None:
    commands = [name for name in COMMANDS if EXTRA_OF.get(name, CLI) == extra]
    helps = [f"{name} --help" for name in commands]
    code = COMMAND_LINES + PARTS.get(extra, "")
    helped = said(install(extra) / "python", "-I", "-c", code, "0", *helps, settings=WHOLE, cwd=tmp_path)
    assert helped.count("Usage") == len(commands)


@pytest.mark.parametrize("lock", [PRODUCTION, EMBEDDED, DEVELOPMENT])
def test_a_lock_contains_names_versions_and_hashes_only(lock: str) -> None:
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        assert PINNED.match(line) or HASH.match(line), f"{lock}: {line}"


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        (PRODUCTION, ("worker", "api", "flower", "grpc")),
        (EMBEDDED, ("embedded", "grpc")),
        (DEVELOPMENT, ("all", "dev")),
    ],
)
def test_a_lock_contains_every_requirement(lock: str, extras: Sequence[str]) -> None:
    pinned = pins(lock)
    for one in asked_for(*extras):
        assert pinned[canonicalize_name(one.name)] in one.specifier, f"{lock}: {one}"


def test_the_locks_agree_on_every_version() -> None:
    production, embedded, development = pins(PRODUCTION), pins(EMBEDDED), pins(DEVELOPMENT)
    assert production.items() <= embedded.items() <= development.items()
