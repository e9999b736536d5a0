"""``notify identities``: map logins to people, and list logins without a person."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import TypeAdapter, ValidationError
from typer import Argument, Option, Typer

from notify.cli.connect import connect
from notify.cli.output import AsJson, Columns, console, print_records, relative
from notify.domain.errors import NotifyError
from notify.intake.schema import Name
from notify.store.forges import identities
from notify.store.forges.identities import Identity

HEADINGS = ("forge", "login", "username")
NAME: TypeAdapter[str] = TypeAdapter(Name)
COLUMNS: Columns = {
    "login": "login",
    "forge": "forge",
    "username": "username",
    "from": "source",
    "verified": lambda one: relative(one.verified_at) if one.verified_at else None,
}
UNMAPPED_COLUMNS: Columns = {
    "login": "login",
    "forge": "forge",
    "missed": "missed",
    "last": lambda one: relative(one.last_at),
    "last event": "last_event_key",
}

app = Typer(help="Map logins to people; list logins without a person.", no_args_is_help=True)

Forge = Annotated[str, Argument(metavar="FORGE", help="Name of the forge in NOTIFY_FORGES_FILE.")]
Login = Annotated[str, Argument(metavar="LOGIN", help="Login on the forge, in any case.")]
OfForge = Annotated[str | None, Option("--forge", metavar="NAME", help="Only logins of this forge.")]


class NoSuchIdentity(NotifyError):
    """No person has this login."""


class InvalidIdentities(NotifyError):
    """Nothing is stored."""

    def __init__(self, *faults: str) -> None:
        super().__init__()
        self.faults = faults

    def __str__(self) -> str:
        return "\n  ".join(["nothing is stored:", *self.faults])


@app.command("list")
def list_(
    *,
    forge: OfForge = None,
    username: Annotated[str | None, Option(metavar="NAME", help="Only logins of this person.")] = None,
    as_json: AsJson = False,
) -> None:
    """List which login belongs to whom. With identities = "login", a login that equals a username needs no entry."""
    with connect() as deployment, deployment.database.begin() as connection:
        found = identities.listed(connection, forge=forge, username=username)
    print_records(found, COLUMNS, empty="no login is mapped", as_json=as_json)


@app.command()
def add(
    forge: Forge, login: Login, username: Annotated[str, Argument(metavar="USERNAME", help="Whose login it is.")]
) -> None:
    """Map a login to a person, replacing an earlier mapping."""
    row = (forge, login, username)
    if faults := [*_faults("the command", row)]:
        raise InvalidIdentities(*faults)
    with connect() as deployment, deployment.database.begin() as connection:
        identities.put(connection, [Identity(forge=forge, login=login, username=username, source="cli")])
    console.print(f"{login} on {forge} is {username}", markup=False)


@app.command()
def remove(forge: Forge, login: Login) -> None:
    """Delete a mapping."""
    with connect() as deployment, deployment.database.begin() as connection:
        if not identities.remove(connection, forge, login):
            raise NoSuchIdentity(forge=forge, login=login)
    console.print(f"{login} on {forge} is no longer mapped", markup=False)


@app.command("import")
def import_(
    file: Annotated[Path, Argument(metavar="FILE.csv", help="Comma-separated, UTF-8.")],
) -> None:
    """
    Import mappings from a CSV file whose first line is forge,login,username.

    All of it is stored, or nothing; every wrong line is named.
    """
    found = _read(file)
    with connect() as deployment, deployment.database.begin() as connection:
        identities.put(connection, found)
    console.print(f"{len(found)} logins stored")


@app.command()
def unmapped(*, forge: OfForge = None, as_json: AsJson = False) -> None:
    """List logins without a person, and how many events they missed."""
    with connect() as deployment, deployment.database.begin() as connection:
        found = identities.unmapped(connection, forge=forge)
    print_records(found, UNMAPPED_COLUMNS, empty="every login has a person", as_json=as_json)


def _read(file: Path) -> list[Identity]:
    """
    Raises:
        InvalidIdentities: With every line that is wrong.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text, strict=True)
            heading = tuple(next(lines, ()))
            rows = [(lines.line_num, tuple(row)) for row in lines if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidIdentities(f"{file.name}: {error}; expected CSV in UTF-8") from None
    except OSError as error:
        raise InvalidIdentities(f"{file}: {error.strerror}") from None
    if heading != HEADINGS:
        raise InvalidIdentities(f"line 1 is {','.join(heading)!r}; expected {','.join(HEADINGS)}")
    faults = [fault for number, row in rows for fault in _faults(f"line {number}", row)]
    logins = Counter((row[0], row[1].lower()) for _, row in rows if len(row) == len(HEADINGS))
    faults += [f"{login} on {forge} stands in {count} lines" for (forge, login), count in logins.items() if count > 1]
    if faults:
        raise InvalidIdentities(*faults)
    return [Identity(forge=forge, login=login, username=username, source="csv") for _, (forge, login, username) in rows]


def _faults(where: str, row: Sequence[str]) -> Iterator[str]:
    if len(row) != len(HEADINGS):
        yield f"{where} has {len(row)} values; expected {','.join(HEADINGS)}"
        return
    for heading, value in zip(HEADINGS, row, strict=True):
        try:
            NAME.validate_python(value)
        except ValidationError as error:
            yield f"{where}: {heading} is {value!r}: {error.errors()[0]['msg']}"
