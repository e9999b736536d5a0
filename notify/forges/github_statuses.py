"""
Shows commit statuses and check runs on GitHub.

Source: GitHub's REST API, "Commit statuses", "Check runs" and "Labels".
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Self

from notify.domain.forge_answers import ForgeFault, Unavailable
from notify.domain.forge_settings import ForgeSettings
from notify.domain.statuses import (
    ANNOTATIONS_A_CALL,
    CUT,
    STATUS_STATES,
    Annotation,
    AppliedStatus,
    CheckOutput,
    Status,
    StatusKind,
    WantedStatus,
    is_completed,
    short_description,
    short_text,
)
from notify.forges.client import ForgeClient, Reply, Scope, repository_path, segment
from notify.forges.common.fields import Fields
from notify.forges.common.statuses import LabelledPull, commit_status, is_gone, labelled_pull, present_name
from notify.forges.pages import Pages

# In bytes, unlike all other limits.
LARGEST_MESSAGE = 65_536
# With one more call, less than a lease.
ANNOTATING_SECONDS = 20.0
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedAnnotation:
    """An annotation in GitHub's form, for reading and writing."""

    path: str
    start_line: int
    end_line: int
    annotation_level: str
    message: str
    title: str

    @classmethod
    def of(cls, one: Annotation) -> Self:
        return cls(
            path=one.path,
            start_line=one.start_line,
            end_line=one.end_line,
            annotation_level=one.level.value,
            message=_short_message(one.message),
            title=one.title or "",
        )

    @classmethod
    def told(cls, found: Fields) -> Self:
        return cls(
            path=found.text("path"),
            start_line=found.number("start_line"),
            end_line=found.number("end_line"),
            annotation_level=found.words("annotation_level"),
            message=found.words("message"),
            title=found.words("title"),
        )

    def content(self) -> Json:
        return {name: value for name, value in asdict(self).items() if value != ""}


class GitHubStatusWriter:
    """
    A ``StatusWriter``. Only apps may write check runs; with a token, the nearest commit status is shown.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, settings: ForgeSettings, client: ForgeClient, *, clock: Callable[[], float] = monotonic) -> None:
        self._client, self._app_id, self._clock = client, settings.app_id, clock
        self._pages = Pages(client, settings.kind)

    def installation(self, full_name: str) -> int | None:
        return self._client.installation(Scope(full_name))

    def apply(self, wanted: WantedStatus) -> AppliedStatus:
        status = wanted.status
        if status.kind is StatusKind.STATUS or self._app_id is None:
            content = commit_status(status, states=STATUS_STATES)
            reply = self._sent("POST", status, f"/statuses/{status.sha}", content)
            return self._applied(status, None, reply)
        for number in self._existing(wanted):
            if (changed := self._changed(wanted, number)) is not None:
                return self._applied(status, number, changed)
        return self._created(wanted)

    def add_label(self, full_name: str, sha: str, label: str) -> None:
        for pull in self._open_pulls(full_name, sha):
            if label.lower() not in pull.labels:
                path = f"{repository_path(full_name)}/issues/{pull.number}/labels"
                self._client.send("POST", path, Scope(full_name), content={"labels": [label]})

    def remove_label(self, full_name: str, sha: str, label: str) -> None:
        for pull in self._open_pulls(full_name, sha):
            if label.lower() in pull.labels:
                path = f"{repository_path(full_name)}/issues/{pull.number}/labels/{segment(label)}"
                self._client.delete(path, Scope(full_name))

    def _open_pulls(self, full_name: str, sha: str) -> Sequence[LabelledPull]:
        """Reads all of them before the first one is changed."""
        path = f"{repository_path(full_name)}/commits/{sha}/pulls"
        return list(self._pages.listing(path, Scope(full_name), lambda pull: labelled_pull(pull, sha)))

    def _existing(self, wanted: WantedStatus) -> Iterator[int]:
        """Check runs that may already be ours; further ones are looked up only if the first is gone."""
        if wanted.remote_id is not None:
            yield wanted.remote_id
        if wanted.remote_id is not None or wanted.look:
            yield from self._looked_for(wanted)

    def _looked_for(self, wanted: WantedStatus) -> Sequence[int]:
        """Newest first, because GitHub shows the newest of a name."""
        status = wanted.status

        def ours(found: Fields) -> int | None:
            app = found.maybe("app")
            is_ours = app is not None and app.number("id") == self._app_id
            return found.number("id") if is_ours and found.words("external_id") == wanted.external_id else None

        path = f"{repository_path(status.repository)}/commits/{status.sha}/check-runs"
        asked = {"check_name": status.context, "filter": "all", "app_id": str(self._app_id)}
        listing = self._pages.listing(path, Scope(status.repository), ours, params=asked, inside="check_runs")
        return sorted(listing, reverse=True)

    def _created(self, wanted: WantedStatus) -> AppliedStatus:
        status = wanted.status
        first, *rest = _outputs(status, _annotations(status))
        named = {"name": status.context, "head_sha": status.sha, "external_id": wanted.external_id}
        reply = self._sent("POST", status, "/check-runs", named | _stated(wanted) | first)
        number = self._pages.read(reply, lambda made: made.number("id"))
        self._annotate(status, number, rest)
        return self._applied(status, number, reply)

    def _changed(self, wanted: WantedStatus, number: int) -> Reply | None:
        """None: there is no such check run."""
        status = wanted.status
        try:
            first, *rest = _outputs(status, self._missing(status, number))
            reply = self._sent("PATCH", status, f"/check-runs/{number}", _stated(wanted) | first)
            self._annotate(status, number, rest)
        except ForgeFault as fault:
            if is_gone(fault):
                return None
            raise
        return reply

    def _annotate(self, status: Status, number: int, outputs: Sequence[Json]) -> None:
        """
        Raises:
            ForgeFault: It takes too long; what was added stays, and the next attempt adds the rest.
        """
        began = self._clock()
        for output in outputs:
            if self._clock() - began > ANNOTATING_SECONDS:
                late = Unavailable(reason="timeout", words="not every annotation was added")
                raise self._client.connection.fault("PATCH", f"/check-runs/{number}", None, late)
            self._sent("PATCH", status, f"/check-runs/{number}", output)

    def _missing(self, status: Status, number: int) -> Sequence[StatedAnnotation]:
        """Annotations that the check run lacks. GitHub only ever adds annotations."""
        wanted = _annotations(status)
        if not wanted:
            return ()
        path = f"{repository_path(status.repository)}/check-runs/{number}/annotations"
        known = Counter(self._pages.listing(path, Scope(status.repository), StatedAnnotation.told))
        return list((Counter(wanted) - known).elements())

    def _sent(self, method: str, status: Status, path: str, content: Mapping[str, Any]) -> Reply:
        whole = f"{repository_path(status.repository)}{path}"
        return self._client.send(method, whole, Scope(status.repository), content=content)

    def _applied(self, status: Status, number: int | None, reply: Reply) -> AppliedStatus:
        return AppliedStatus(remote_id=number, repository=present_name(self._pages, status.repository, reply))


def _stated(wanted: WantedStatus) -> Json:
    status, completed = wanted.status, is_completed(wanted.status.state)
    stated = {
        "status": "completed" if completed else status.state.value,
        "conclusion": status.state.value if completed else None,
        "details_url": status.target_url,
        "started_at": _instant(wanted.started_at),
        "completed_at": _instant(wanted.completed_at) if completed else None,
    }
    return {name: value for name, value in stated.items() if value is not None}


def _instant(at: datetime | None) -> str | None:
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _outputs(status: Status, annotations: Sequence[StatedAnnotation]) -> Sequence[Json]:
    """The outputs of one or more calls, each with as many annotations as a call may have."""
    output = status.output
    if output is None and status.description:
        output = CheckOutput(title=short_description(status.description), summary=status.description)
    if output is None:
        return ({},)
    words = {"title": short_text(output.title), "summary": short_text(output.summary)}
    if output.text:
        words["text"] = short_text(output.text)
    parts = [annotations[at : at + ANNOTATIONS_A_CALL] for at in range(0, len(annotations), ANNOTATIONS_A_CALL)]
    annotated = [{"annotations": [one.content() for one in part]} for part in parts] or [{}]
    return [{"output": words | more} for more in annotated]


def _annotations(status: Status) -> Sequence[StatedAnnotation]:
    return [StatedAnnotation.of(one) for one in status.output.annotations] if status.output else ()


def _short_message(text: str) -> str:
    stated = text.encode()
    if len(stated) <= LARGEST_MESSAGE:
        return text
    return stated[: LARGEST_MESSAGE - len(CUT.encode())].decode(errors="ignore").rstrip() + CUT
