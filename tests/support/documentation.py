"""The pages of the documentation: their texts, examples and links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOP = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
PATHS = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs").glob("*/*.md"))]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
INSTALLS = re.compile(r"`pip install ([^`]+)`")
SAVED_AS = re.compile(r"# (\w+\.py)\n")
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")


@dataclass(frozen=True, slots=True)
class Example:
    """A block of code of *page*; *line* is that of its fence, from 1."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {self.language}"

    @property
    def saved_as(self) -> str | None:
        """The name of the file that it is, which its first line says; None: it is run as it stands."""
        found = SAVED_AS.match(self.text)
        return found[1] if found else None

    def packages(self) -> list[str]:
        """What the ``pip install`` before it installs."""
        above = "\n".join(PAGES[self.page].splitlines()[: self.line])
        found: list[str] = INSTALLS.findall(above)
        return found[-1].split()

    def shell_commands(self) -> list[str]:
        """Each command whole, however many lines it takes."""
        commands, begun = [], ""
        for line in self.text.splitlines():
            begun += line
            if _is_whole(begun):
                commands.append(begun)
                begun = ""
            else:
                begun += "\n"
        return [command for command in commands if command.strip()]


def examples(page: str, *languages: str) -> list[Example]:
    """The blocks of code of this page, in order; of these languages, or of all that say which they are."""
    text = PAGES[page]
    found = (
        Example(page, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in BLOCK.finditer(text)
    )
    return [one for one in found if one.language and (not languages or one.language in languages)]


def prose(page: str) -> str:
    """The page without its blocks of code."""
    return BLOCK.sub("", PAGES[page])


def broken_links(page: str) -> Iterator[str]:
    """The links of this page to files or headings that do not exist."""
    for path, heading in LINK.findall(prose(page)):
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists():
            yield path
        elif heading and heading not in _anchors(target):
            yield f"{path}#{heading}"


def _anchors(path: Path) -> set[str]:
    """The names that the headings of this file have in links."""
    headings = HEADING.findall(BLOCK.sub("", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _is_whole(command: str) -> bool:
    if command.endswith("\\"):
        return False
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True
