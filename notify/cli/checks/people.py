"""What is stored of people that their emails cannot follow."""

from collections.abc import Sequence

from notify.cli.checks import Finding
from notify.cli.place import Place
from notify.domain.schedule import clock
from notify.store.directory import directory

MOST_NAMED = 3
LONGEST_NAME = 40


def time_zones(here: Place) -> Sequence[Finding]:
    """Whose zone is unknown to this machine."""
    with here.database.begin() as connection:
        unknown = [name for name in directory.time_zones(connection) if clock(name).trouble]
        people = directory.people_in(connection, unknown)
    named = ", ".join(ascii(name[:LONGEST_NAME]) for name in unknown[:MOST_NAMED]) + (
        ", …" if len(unknown) > MOST_NAMED else ""
    )
    words = f"{people:,} people are in zones unknown here: {named}" if unknown else "every zone of people is known"
    why = "Their digests, quiet hours and times are by UTC."
    mend = "PUT /api/v1/people/{username} with a zone of the IANA database; SELECT username FROM notify.people has them"
    return [Finding("time zones", not unknown, words, why, mend)]
