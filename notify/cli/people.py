"""``notify people``: what is known of somebody, and trying an address again that a relay refused for good."""

from dataclasses import asdict
from typing import Annotated

from typer import Argument, Typer

from notify.cli.output import AsJson, console, print_json, print_table
from notify.cli.place import place
from notify.domain.errors import NotifyError
from notify.domain.fan_out import usable_address
from notify.store import directory, preferences

app = Typer(help="What is known of people, and trying a refused address again.", no_args_is_help=True)

Name = Annotated[str, Argument(metavar="NAME", help="The person's username.")]


class NoSuchPerson(NotifyError):
    """The directory knows nobody of this name."""


class NotUndeliverable(NotifyError):
    """No relay has refused an address of this person for good."""


@app.command()
def show(name: Name, *, as_json: AsJson = False) -> None:
    """What the directory knows of a person, where their letters go, and why they have stopped if they have."""
    with place() as here, here.database.begin() as connection:
        person = directory.person(connection, name)
        choices = preferences.config(connection, name).choices
        refused = directory.undeliverable(connection, name, chosen_email=choices.email)
    if person is None:
        raise NoSuchPerson(name=name)
    known = {
        **asdict(person),
        "chosen_email": choices.email,
        "letters_go_to": usable_address(person, choices) if person.active else None,
    }
    if as_json:
        print_json({**known, "undeliverable": refused})
        return
    print_table(["", ""], [(field, value) for field, value in known.items() if value is not None])
    if refused is not None:
        when, words = f"{refused.at:%Y-%m-%d %H:%M} UTC", f": {refused.reply}" if refused.reply else ""
        console.print(f"\n{refused.email} was refused for good on {when}{words}", markup=False)


@app.command()
def clear(name: Name) -> None:
    """Forget that a relay refused the person's address for good: later letters go there again."""
    with place() as here, here.database.begin() as connection:
        if directory.person(connection, name) is None:
            raise NoSuchPerson(name=name)
        if not directory.clear_undeliverable(connection, name):
            raise NotUndeliverable(name=name)
    console.print(f"{name}: later letters go to this address again", markup=False)
