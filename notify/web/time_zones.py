"""The time zones that the preferences page offers."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from zoneinfo import available_timezones

REGIONS = (
    "Africa",
    "America",
    "Antarctica",
    "Arctic",
    "Asia",
    "Atlantic",
    "Australia",
    "Europe",
    "Indian",
    "Pacific",
)


@lru_cache(maxsize=1)
def by_region() -> Mapping[str, Sequence[str]]:
    """The IANA names of zones that are named after places, in alphabetical order."""
    names = sorted(available_timezones())
    return {region: [name for name in names if name.startswith(f"{region}/")] for region in REGIONS}
