"""The messages of templates and code, and their translations: ``python -m tests.support.translations`` updates them."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parents[2]
CATALOGUES = sorted((ROOT / "templates" / "locale").glob("*/LC_MESSAGES/notify.po"))
HEADER = """msgid ""
msgstr ""
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Language: {language}\\n"
"Plural-Forms: {plural_forms}\\n"

"""
MessageId = str | tuple[str, ...]


def spoken() -> set[MessageId]:
    """Every message that a template or the code uses; a pair where it depends on a number."""
    found: set[MessageId] = set()
    for path in (ROOT / "templates").rglob("*.*"):
        if path.suffix in {".txt", ".html"}:
            found |= set(_in("jinja2", path, trimmed="true"))
    for path in (ROOT / "notify").rglob("*.py"):
        found |= set(_in("python", path))
    return found


def _in(method: str, path: Path, **options: str) -> Iterator[MessageId]:
    keywords = {"_": None, "ngettext": (1, 2), "gettext": None, "marked": None}
    options |= {"silent": "false"} if method == "jinja2" else {}
    for _, message, _, _ in extract_from_file(method, path, keywords=keywords, options=options):
        yield message if isinstance(message, str) else tuple(message)


def read(path: Path) -> Catalog:
    """The catalogue of one language."""
    with path.open("rb") as file:
        return read_po(file, locale=path.parents[1].name)


def bring_up_to_date(path: Path) -> None:
    """Add missing messages to the catalogue and remove unused ones; event types stay."""
    old = read(path)
    new = Catalog(locale=old.locale)
    kept = {(one.id, one.context): one for one in old if one.id}
    for message in spoken():
        new[message] = kept.get((message, None), Message(message))
    for one in kept.values():
        if one.context:
            new.add(one.id, one.string, context=one.context)
    written = BytesIO()
    write_po(written, new, width=0, omit_header=True, sort_output=True)
    header = HEADER.format(language=old.locale_identifier, plural_forms=old.plural_forms)
    path.write_text(header + written.getvalue().decode().strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    for one in CATALOGUES:
        bring_up_to_date(one)
