"""Reads the Markdown files of a folder in a repository, which works alike on both forges."""

from base64 import b64decode
from binascii import Error
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from notify.domain.forge import Listing, RepositoryFile
from notify.domain.forge_answers import Refused
from notify.forges.client import ForgeClient, Scope, repository_path
from notify.forges.common.fields import Fields, storable
from notify.forges.pages import Pages

MARKDOWN = ".md"
LARGEST_FILE = 2**20
# Source: GitHub, "Get repository content": a folder is listed up to 1,000 files, without a sign of the rest.
MOST_FILES = 1_000


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    sha: str
    size: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on the default branch."""

    pages: Pages
    full_name: str
    folder: str

    def changed(self, known: Mapping[str, str]) -> Listing[RepositoryFile]:
        """
        The folder's files, with the texts of those whose ``sha`` is not *known*.

        Raises:
            ForgeFault: It has more files than the forge lists.
        """
        entries = self.pages.array(self._path(self.folder), Scope(self.full_name), _markdown)
        if len(entries) >= MOST_FILES:
            meaning = Refused(reason="unexpected", words=f"a folder of {MOST_FILES:,} entries and more is not listed")
            raise self._client.connection.fault("GET", self._path(self.folder), None, meaning)
        found = [entry for entry in entries if entry is not None]
        return Listing(items=(self._file(entry, known) for entry in found))

    def _file(self, entry: _Entry, known: Mapping[str, str]) -> RepositoryFile:
        if known.get(entry.path) == entry.sha:
            return RepositoryFile(path=entry.path, sha=entry.sha, text=None)
        if entry.size > LARGEST_FILE:
            return RepositoryFile(path=entry.path, sha=entry.sha, text=None, fault="larger than 1 MiB")
        content = self.pages.one(self._path(entry.path), Scope(self.full_name), lambda file: file.text("content"))
        try:
            text = storable(b64decode(content).decode("utf-8-sig"))
        except (Error, ValueError):
            return RepositoryFile(path=entry.path, sha=entry.sha, text=None, fault="no text in UTF-8")
        return RepositoryFile(path=entry.path, sha=entry.sha, text=text)

    def _path(self, path: str) -> str:
        return f"{repository_path(self.full_name)}/contents/{quote(path)}"

    @property
    def _client(self) -> ForgeClient:
        return self.pages.client


def _markdown(found: Fields) -> _Entry | None:
    if found.text("type") != "file" or not found.text("name").lower().endswith(MARKDOWN):
        return None
    return _Entry(path=found.text("path"), sha=found.line("sha"), size=found.maybe_number("size") or 0)
