"""The languages of emails and pages: gettext catalogues next to the templates."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path
from re import compile as pattern
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.core import get_global
from babel.dates import format_date, get_day_names
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from babel.support import Translations
from jinja2 import Environment

from notify.domain.errors import InvalidSettings

DEFAULT = "en"
ACCEPTED = pattern(r"(?P<tag>[A-Za-z0-9-]+)(?:\s*;\s*q=(?P<weight>[01](?:\.\d{0,3})?))?")
MAX_ACCEPTED = 1_000
POSIX_REST = pattern(r"[.@].*")
CATALOGUE = Path("LC_MESSAGES", "notify.po")


class Languages:
    """
    The catalogues ``locale/<language>/LC_MESSAGES/notify.po`` of some folders.

    Args:
        folders: Where to look; the first folder that has a message wins.
        added: Looked at last, and only for the languages of the others. What cannot be read there is left out.

    Raises:
        InvalidSettings: A catalogue in *folders* cannot be read, or its folder names no language.
    """

    def __init__(self, folders: Sequence[Path], *, added: Sequence[Path] = ()) -> None:
        found: dict[str, list[Translations]] = {DEFAULT: []}
        for tag, path in _catalogues(folders):
            found.setdefault(tag, []).append(_read(path))
        self._directions = {tag: _locale(tag).text_direction for tag in found}
        for tag, path in _catalogues(added):
            if tag in found:
                with suppress(InvalidSettings):
                    found[tag].append(_read(path))
        self._translations = {tag: _first_wins(catalogues) for tag, catalogues in found.items()}

    @property
    def known(self) -> tuple[str, ...]:
        """The available languages, as BCP 47 tags; always includes English."""
        return tuple(self._translations)

    def best(self, wanted: str | None) -> str:
        """The available language nearest to the wanted one; English if there is none."""
        return self._nearest(wanted or DEFAULT) or DEFAULT

    def asked_for(self, accepted: str | None) -> str:
        """
        The available language that a browser prefers; English if there is none.

        Args:
            accepted: The value of ``Accept-Language`` (RFC 9110 §12.5.4).
        """
        offers = (ACCEPTED.fullmatch(offer.strip()) for offer in (accepted or "")[:MAX_ACCEPTED].split(","))
        weighed = [(float(offer["weight"] or 1), offer["tag"]) for offer in offers if offer]
        by_weight = (tag for weight, tag in sorted(weighed, key=lambda one: -one[0]) if weight)
        return next(filter(None, map(self._nearest, by_weight)), DEFAULT)

    def _nearest(self, wanted: str) -> str | None:
        return next((tag for tag in _ever_wider(_tag(wanted)) if tag in self._translations), None)

    def direction(self, language: str) -> str:
        """The writing direction of an available language: ``ltr`` or ``rtl``."""
        return self._directions[language]

    def translations(self, language: str) -> NullTranslations:
        """The messages of an available language; untranslated ones stay English."""
        return self._translations[language]

    def speak(self, environment: Environment, language: str) -> Environment:
        """Make the environment translate its templates into an available language; returns it."""
        environment.add_extension("jinja2.ext.i18n")
        environment.policies["ext.i18n.trimmed"] = True
        environment.install_gettext_translations(self.translations(language), newstyle=True)  # type: ignore[attr-defined]
        environment.globals |= {"locale": language, "direction": self.direction(language)}
        return environment


def marked(message: str) -> str:
    """The message itself; calling this marks it for extraction into the catalogues."""
    return message


def moment(at: datetime, *, language: str, timezone: str | None) -> str:
    """An instant in a person's language and time zone, with the zone's name."""
    there, locale = at.astimezone(zone(timezone)), _locale(language)
    return f"{format_date(there, 'long', locale)} {there:%H:%M} {there.tzname()}"


def weekday_and_time(at: datetime, *, language: str, timezone: str | None) -> str:
    """An instant within a week, as a person says it: ``Monday 09:00``."""
    there = at.astimezone(zone(timezone))
    return f"{format_date(there, 'EEEE', _locale(language))} {there:%H:%M}"


def weekdays(language: str) -> list[str]:
    """The days of the week in a language, starting with Monday."""
    names = get_day_names("wide", context="stand-alone", locale=_locale(language))
    return [str(names[day]) for day in range(7)]


def city(zone_name: str, *, language: str) -> str:
    """The place that a time zone is named after, in a language where it has a name of its own there."""
    known = {} if language == DEFAULT else _locale(language).time_zones.get(zone_name) or {}
    return str(known.get("city") or zone_name.partition("/")[2].replace("_", " "))


@lru_cache(maxsize=1_000)
def zone(name: str | None) -> tzinfo:
    """The time zone of this name; UTC if it is unknown."""
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, OSError, ValueError):
        return UTC


def _catalogues(folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """The language and the path of each catalogue."""
    for folder in folders:
        for path in sorted(folder.glob(f"locale/*/{CATALOGUE}")):
            yield _tag(path.parents[1].name), path


def _tag(name: str) -> str:
    """The BCP 47 tag in lower case, also for a POSIX locale: ``de_DE.UTF-8`` becomes ``de-de``."""
    return POSIX_REST.sub("", name).replace("_", "-").lower()


def _ever_wider(tag: str) -> Iterator[str]:
    """
    The tag and its ever shorter prefixes; before the bare language, the language with its likely script.

    Source: RFC 4647 §3.4; the likely scripts are from CLDR.
    """
    parts = tag.split("-")
    yield from ("-".join(parts[:end]) for end in range(len(parts), 1, -1))
    likely = get_global("likely_subtags").get("_".join([parts[0], *(part.upper() for part in parts[1:2])]), "")
    yield "-".join(likely.lower().split("_")[:2])
    yield parts[0]


@lru_cache(maxsize=100)
def _locale(tag: str) -> Locale:
    try:
        return Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        msg = f"unknown language in the templates: locale/{tag}; expected a name such as de or pt_BR"
        raise InvalidSettings(msg) from None


def _read(path: Path) -> Translations:
    try:
        with path.open("rb") as file:
            catalogue = read_po(file, abort_invalid=True)
    except (PoFileError, OSError, ValueError) as error:
        raise InvalidSettings(f"{path} cannot be read: {error}") from None
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


def _first_wins(catalogues: Sequence[Translations]) -> NullTranslations:
    if not catalogues:
        return NullTranslations()
    first, *others = catalogues
    for other in others:
        first.add_fallback(other)
    return first
