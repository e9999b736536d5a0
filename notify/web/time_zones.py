"""The time zones that the preferences page offers."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from zoneinfo import available_timezones

from notify.channels.languages import city, marked

REGIONS = (
    marked("Africa"),
    marked("America"),
    marked("Antarctica"),
    marked("Arctic"),
    marked("Asia"),
    marked("Atlantic"),
    marked("Australia"),
    marked("Europe"),
    marked("Indian"),
    marked("Pacific"),
)


@lru_cache(maxsize=16)
def by_region(language: str) -> Mapping[str, Sequence[tuple[str, str]]]:
    """The IANA names of zones that are named after places, each with the place in this language and in its order."""
    names = sorted(available_timezones())
    return {
        region: sorted(
            ((name, city(name, language=language)) for name in names if name.startswith(f"{region}/")),
            key=lambda named: named[1].casefold(),
        )
        for region in REGIONS
    }
