"""``notify cls``: show a change list, or store what is known about one."""

from dataclasses import asdict, replace
from typing import Annotated, Any

from pydantic import ValidationError
from typer import Argument, Option, Typer

from notify.cli.connect import connect
from notify.cli.output import AsJson, console, print_facts, print_json
from notify.domain.errors import NotifyError
from notify.domain.events import ChangeList
from notify.intake.schema import ChangeListIn, wrong_fields
from notify.store.directory import directory
from notify.store.directory.directory import State

app = Typer(help="Show a change list, or store what is known about one.", no_args_is_help=True)

Link = Annotated[str, Argument(metavar="LINK", help="Short name of the change list, such as CL-4821.")]


class NoSuchChangeList(NotifyError):
    """The directory knows no change list with this link."""


class InvalidChangeList(NotifyError):
    """Nothing is stored."""


@app.command()
def show(link: Link, *, as_json: AsJson = False) -> None:
    """Show what the directory knows about a change list."""
    with connect() as deployment, deployment.database.begin() as connection:
        found, state = directory.change_list(connection, link), directory.state(connection, link)
    if found is None:
        raise NoSuchChangeList(link=link)
    known = {**asdict(found), "state": state}
    if as_json:
        print_json(known)
    else:
        print_facts({name: value or None for name, value in known.items()})


@app.command()
def put(
    link: Link,
    *,
    author: Annotated[str | None, Option(metavar="NAME", help="Username of the author.")] = None,
    reviewer: Annotated[
        list[str] | None, Option(metavar="NAME", help="Username of a reviewer; repeat it for each. Replaces all.")
    ] = None,
    title: Annotated[str | None, Option(metavar="TEXT", help="One line.")] = None,
    url: Annotated[str | None, Option(metavar="URL", help="Page of the change list.")] = None,
    repository: Annotated[str | None, Option(metavar="NAME", help="Repository, for the subject of emails.")] = None,
    state: Annotated[State | None, Option(help="A new change list is open.")] = None,
    as_json: AsJson = False,
) -> None:
    """Store a change list. What is not given stays as it is known."""
    given = {"author": author, "reviewers": reviewer, "title": title, "url": url, "repository": repository}
    facts = _checked(link, {name: value for name, value in given.items() if value})
    with connect() as deployment, deployment.database.begin() as connection:
        known = directory.change_list(connection, link) or ChangeList(link=link)
        now = state or directory.state(connection, link) or State.OPEN
        directory.put_change_list(connection, replace(known, **facts), state=now)
    if as_json:
        print_json({**asdict(replace(known, **facts)), "state": now})
    else:
        console.print(f"{link} is stored", markup=False)


def _checked(link: str, given: dict[str, Any]) -> dict[str, Any]:
    """
    Raises:
        InvalidChangeList: Naming every option that is wrong.
    """
    try:
        stated = ChangeListIn(link=link, **given)
    except ValidationError as error:
        raise InvalidChangeList(**{one.field: one.reason for one in wrong_fields(error)}) from None
    facts = stated.model_dump(include=set(given))
    return facts | {"reviewers": tuple(facts["reviewers"])} if "reviewers" in facts else facts
