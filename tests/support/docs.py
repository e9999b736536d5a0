"""
``python -m tests.support.docs`` runs every example of the documentation as printed, on an embedded stack.

| Language | What runs |
|---|---|
| sh | the commands, in a folder where ``.venv`` and ``.notify`` are; of ``make`` only whether the target exists |
| sh, settings alone | nothing: the settings are accepted |
| python | a process of its own; one whose first line is the name of a file is saved there, for what follows |
| sql | a transaction that is rolled back; in an empty database if it makes the schema |
| json | what has an actor is accepted as an event; anything else is JSON |
| toml | nothing: it is TOML |
| powershell | nothing |
"""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from psycopg import sql
from rich.console import Console

from notify.cli import demo
from notify.embedded.completion import PORTS, as_string
from notify.embedded.ports import free_port
from notify.embedded.stack import Stack
from notify.intake.schema import parse
from notify.settings import Settings
from notify.store.database import Database
from notify.store.directory import directory, preferences
from tests.support.documentation import PAGES, ROOT, Example, broken_links, examples
from tests.support.forked_commands import forking_environment
from tests.support.servers import new_database

API, FORGE = "http://127.0.0.1:8000", "http://127.0.0.1:8030"
SHELL = ("bash", "-euo", "pipefail", "-c")
TARGET = re.compile(r"^([a-z]+):.*## ", re.MULTILINE)
IS_SETTING = re.compile(r"NOTIFY_[A-Z_]+=").match
GRANTED = re.compile(r"^GRANT .* TO (\w+);", re.MULTILINE)
MADE = re.compile(r"^CREATE ROLE (\w+)", re.MULTILINE)
SECONDS = 120


class ExampleFailed(AssertionError):
    """The example did not do what it should."""


@dataclass(slots=True)
class Runner:
    """
    Runs examples against a running system.

    Args:
        folder: The folder in which readers type: ``.venv`` and ``.notify`` appear there.
        environment: What is the environment of Python there, until another is used.
    """

    settings: Settings
    api: str
    folder: Path
    environment: Path
    _environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.use(self.environment)
        (self.folder / ".notify").symlink_to(self.settings.data_dir.resolve())
        self._environment = {
            "PATH": f"{self.folder / '.venv/bin'}:/usr/local/bin:/usr/bin:/bin",
            "DATABASE_URL": as_string(self.settings.database_url),
            "BROKER_URL": as_string(self.settings.broker_url),
        }

    def use(self, environment: Path) -> None:
        """Run what follows in this environment of Python."""
        venv = self.folder / ".venv"
        venv.unlink(missing_ok=True)
        venv.symlink_to(environment)

    def run(self, example: Example) -> str:
        """What the example prints. Raises ExampleFailed."""
        match example.language:
            case "sh":
                return self._shell(example)
            case "python" if example.saved_as:
                (self.folder / example.saved_as).write_text(example.text, encoding="utf-8")
            case "python":
                return self._process(example, [str(self.folder / ".venv/bin/python"), "-c", example.text])
            case "sql":
                self._sql(example.text)
            case "json":
                value = json.loads(example.text)
                if "actor" in value:
                    parse(value)
            case "toml":
                tomllib.loads(example.text)
            case "powershell":
                pass
            case language:
                raise ExampleFailed(f"{example}: nobody knows how to run {language}")
        return ""

    def _shell(self, example: Example) -> str:
        """Run the commands; they see the variables that the page's earlier blocks have set."""
        commands = example.shell_commands()
        if all(map(IS_SETTING, commands)):
            values = dict(one.split("=", 1) for command in commands for one in _words(command))
            Settings(_env_file=None, **{name.removeprefix("NOTIFY_").lower(): value for name, value in values.items()})
            return ""
        targets = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
        for command in commands:
            if command.startswith("make ") and command.split()[1] not in targets:
                raise ExampleFailed(f"{example}: {command}")
        typed = [command for command in commands if not command.startswith("make ")]
        if not typed:
            return ""
        variables = self.folder / "variables"
        script = "\n".join(["set -a", *typed, f"env -0 > {shlex.quote(str(variables))}"])
        forge = f"http://127.0.0.1:{self.settings.forge_port}"
        script = script.replace(API, self.api).replace(FORGE, forge)
        printed = self._process(example, [*SHELL, script])
        self._environment = dict(one.split("=", 1) for one in variables.read_text(encoding="utf-8").split("\0") if one)
        return printed

    def _process(self, example: Example, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode:
            raise ExampleFailed(f"{example}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _sql(self, statements: str) -> None:
        url = as_string(self.settings.database_url)
        if "CREATE SCHEMA" not in statements:
            _roll_back(url, statements)
            return
        with new_database(url) as empty:
            _roll_back(empty, statements)


def _words(command: str) -> list[str]:
    """The words of a line of assignments, without their quotes."""
    return [one.replace('"', "") for one in re.findall(r'[A-Z_]+=(?:"[^"]*"|\S*)', command)]


def _roll_back(url: str, statements: str) -> None:
    """Execute them; the role to which they grant rights is the reader's own."""
    with psycopg.connect(url) as connection:
        for role in set(GRANTED.findall(statements)) - set(MADE.findall(statements)):
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        connection.execute(statements.encode())
        connection.rollback()


def introduce_people(database: Database) -> None:
    """The people of the demo, with what they have chosen."""
    with database.begin() as connection:
        for person in demo.PEOPLE:
            directory.put_person(connection, person)
        for username, chosen in demo.CHOICES.items():
            preferences.put_config(connection, username, settings=chosen, preferences={})


def _stack(data_dir: Path) -> Stack:
    ports = {name: free_port() for name in PORTS}
    settings = Settings(_env_file=None, data_dir=data_dir, **ports)
    return Stack(settings, console=Console(quiet=True))


def _failures() -> Iterator[str]:
    """Every link that leads nowhere and every example that fails, each said as it runs."""
    for page in PAGES:
        yield from (f"{page}: the link {link} leads nowhere" for link in broken_links(page))
    with (
        TemporaryDirectory() as scratch,
        forking_environment() as environment,
        _stack(Path(scratch) / "data") as stack,
    ):
        stack.wait_until_ready()
        database = Database(as_string(stack.settings.database_url), pool_size=1)
        introduce_people(database)
        database.close()
        for at, page in enumerate(PAGES):
            folder = Path(scratch) / str(at)
            folder.mkdir()
            runner = Runner(stack.settings, stack.state.urls["api"], folder, environment)
            for example in examples(page):
                sys.stdout.write(f"{example}\n")
                try:
                    runner.run(example)
                except Exception as error:  # noqa: BLE001 -- each is reported, and the others still run
                    yield f"{example}: {error}"


def main() -> int:
    """Run all examples; the exit code is 1 if a link or an example does not hold."""
    failures = list(_failures())
    for failure in failures:
        sys.stderr.write(f"FAILED {failure}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
