"""``notify people``: show, export or erase what is stored about a person, and allow a refused address again."""

from calendar import day_abbr, day_name
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from typer import Argument, Exit, Typer, confirm

from notify.cli.connect import connect
from notify.cli.output import AsJson, DryRun, Yes, at, console, print_facts, print_json, print_table, progress_bar
from notify.delivery import erasure
from notify.domain.errors import NotifyError
from notify.domain.fan_out import usable_address
from notify.domain.preferences import Preferences
from notify.domain.schedule import Mode, QuietHours, Schedule
from notify.store.directory import directory, preferences

app = Typer(help="Show, export or erase what is stored about a person; clear a refused address.", no_args_is_help=True)

Name = Annotated[str, Argument(metavar="NAME", help="The person's username.")]

MIRRORED = {"forge_changes", "forge_reviewers", "forge_entries", "forge_actions", "webhook_deliveries"}
MIRROR_RETURNS = (
    "The forge still knows {name}: the next reading of a pull request or entry that names them brings their login back."
    " Delete the account there as well."
)


class NoSuchPerson(NotifyError):
    """The directory knows no person of this name."""


class NotUndeliverable(NotifyError):
    """No relay has refused an address of this person for good."""


@app.command()
def show(name: Name, *, as_json: AsJson = False) -> None:
    """Show a person: what the directory knows, what they have chosen, and where their emails go."""
    with connect() as deployment, deployment.database.begin() as connection:
        person = directory.person(connection, name)
        stored = preferences.config(connection, name)
        refused = directory.undeliverable(connection, name, chosen_email=stored.email)
    if person is None:
        raise NoSuchPerson(name=name)
    known = {
        **asdict(person),
        "chosen_email": stored.email,
        "emails_go_to": usable_address(person, stored) if person.active else None,
    }
    if as_json:
        print_json({**known, "undeliverable": refused, "preferences": stored})
        return
    print_facts(known | _preference_facts(stored))
    if refused is not None:
        words = f": {refused.reply}" if refused.reply else ""
        console.print(f"\n{refused.email} was refused for good, {at(refused.at)}{words}", markup=False)


def _preference_facts(stored: Preferences) -> dict[str, object]:
    """Preferences in words; None where nothing is chosen."""
    schedule, codes = stored.schedule, stored.preferences
    pause = schedule.paused_until
    return {
        "wants emails": stored.enabled,
        "delivery": _delivery(schedule),
        "own time zone": schedule.timezone,
        "quiet hours": schedule.quiet_hours and _quiet(schedule.quiet_hours),
        "paused until": pause if pause and pause > datetime.now(UTC) else None,
        "muted": stored.muted_cls or None,
        "subscribed": stored.subscribed_cls or None,
        "switched on": [code for code, is_on in codes.items() if is_on] or None,
        "switched off": [code for code, is_on in codes.items() if not is_on] or None,
    }


def _delivery(schedule: Schedule) -> str:
    hour = f"{schedule.hour:02}:00"
    return {
        Mode.REALTIME: "immediately",
        Mode.HOURLY: "hourly digest",
        Mode.DAILY: f"daily digest at {hour}",
        Mode.WEEKLY: f"weekly digest on {day_name[schedule.weekday - 1]} at {hour}",
    }[schedule.mode]


def _quiet(hours: QuietHours) -> str:
    days = ", ".join(day_abbr[day - 1] for day in sorted(hours.days))
    return f"{hours.start:%H:%M} to {hours.end:%H:%M} on {days}"


@app.command()
def clear(name: Name) -> None:
    """Clear the mark of an address that a relay has refused for good, so that emails go there again."""
    with connect() as deployment, deployment.database.begin() as connection:
        if directory.person(connection, name) is None:
            raise NoSuchPerson(name=name)
        if not directory.clear_undeliverable(connection, name):
            raise NotUndeliverable(name=name)
    console.print(f"{name}: later emails go to this address again", markup=False)


@app.command()
def export(name: Name, *, as_json: AsJson = False) -> None:
    """Export everything that is stored about a person: all rows with --json, otherwise how many there are."""
    with connect() as deployment:
        rows = erasure.remaining(deployment.database, name)
        stored = erasure.export(deployment.database, name) if as_json else {}
    if not rows:
        raise NoSuchPerson(name=name)
    if as_json:
        print_json(stored)
    else:
        print_table(["stored in", "rows"], list(rows.items()))


@app.command()
def erase(
    name: Name,
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """
    Erase a person: address, preferences, logins, and their name and text everywhere. This cannot be undone.

    Pending emails to the person are cancelled. Rows of emails, events, webhook deliveries and pull requests stay,
    without the person, so that counts stay true. Exit code 1 means that something is left, because it is still needed:
    emails about what the person wrote, or webhook deliveries that are still pending; run it again later.

    What others wrote about them, and what a forge itself keeps, is not erased.
    """
    with connect() as deployment:
        rows = erasure.remaining(deployment.database, name)
        if not rows:
            raise NoSuchPerson(name=name)
        if not dry_run:
            if not yes:
                confirm(f"Erase {name} from {sum(rows.values()):,} rows? This cannot be undone.", abort=True, err=True)
            with progress_bar() as progress:
                bar = progress.add_task("erasing", total=None)
                for _ in erasure.erase(deployment.database, name):
                    progress.advance(bar)
        left = erasure.remaining(deployment.database, name)
    if as_json:
        print_json({"found": rows, "left": left})
    else:
        print_table(["stored in", "found", "left"], [(table, count, left.get(table)) for table, count in rows.items()])
        if MIRRORED & rows.keys():
            console.print(MIRROR_RETURNS.format(name=name), markup=False)
    if left and not dry_run:
        raise Exit(1)
