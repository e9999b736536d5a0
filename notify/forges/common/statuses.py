"""Commit statuses and the labels of pull requests, as far as GitHub and Gitea take them alike."""

from collections.abc import Mapping
from dataclasses import dataclass

from notify.domain.forge_answers import ForgeFault, Refused
from notify.domain.statuses import Status, StatusState, nearest_status, short_description
from notify.forges.client import Reply, Scope, repository_path
from notify.forges.common.fields import Fields
from notify.forges.pages import Pages


def commit_status(status: Status, *, states: frozenset[StatusState]) -> Mapping[str, str]:
    """
    What is posted for a commit status; a check run becomes the nearest one.

    Args:
        states: Those that the forge has.
    """
    words = status.description or (status.output.title if status.output else "")
    stated = {
        "state": nearest_status(status.state, among=states).value,
        "context": status.context,
        "description": short_description(words),
        "target_url": status.target_url or "",
    }
    return {name: value for name, value in stated.items() if value}


def present_name(pages: Pages, full_name: str, reply: Reply) -> str:
    """
    The repository's full name after a call that used *full_name*.

    Forges redirect to an address that names the repository by its number, so behind a redirect it is read.
    """
    path = repository_path(full_name)
    if reply.url.startswith(f"{pages.client.connection.base}{path}/"):
        return full_name
    return pages.one(path, Scope(full_name), lambda found: found.line("full_name"))


def is_gone(fault: ForgeFault) -> bool:
    """Whether what was asked for is not there, or not for us to see."""
    return isinstance(fault.meaning, Refused) and fault.meaning.reason == "gone"


@dataclass(frozen=True, slots=True)
class LabelledPull:
    """An open pull request and the numbers of its labels by their names in lower case."""

    number: int
    labels: Mapping[str, int]


def labelled_pull(found: Fields, sha: str) -> LabelledPull | None:
    """None: it is not open, or its head is another commit."""
    if found.text("state") != "open" or found.at("head").words("sha") != sha:
        return None
    labels = {one.line("name").lower(): one.number("id") for one in found.each("labels")}
    return LabelledPull(number=found.number("number"), labels=labels)
