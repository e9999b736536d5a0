"""The ports to forges; GitHub and Gitea implement them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from notify.domain.forge import (
    Branch,
    Change,
    ChangeReading,
    FailedDelivery,
    ForgeEvent,
    Ignored,
    Listing,
    ParsedDelivery,
    Repository,
    RepositoryFile,
    WorkflowRun,
)
from notify.domain.statuses import AppliedStatus, WantedStatus


class ForgeReader(Protocol):
    """
    Reads one forge over HTTP. Safe for many threads; holds one connection pool and its tokens.

    Every method may raise ``ForgeFault``, listings also in mid-iteration. Names may be old ones: redirects are
    followed, and what is returned has the present name.
    """

    @property
    def name(self) -> str: ...

    def own_login(self) -> str | None:
        """The login under which we act, cached; None: unknown to the forge (a token without a user)."""

    def clock_ahead(self) -> timedelta | None:
        """How far the forge's clock is ahead of this machine's, by its last answer; None: no answer has said."""

    def permissions(self) -> Mapping[str, str] | None:
        """What the app may do, such as ``contents: read``; None: the forge does not say."""

    def repositories(self) -> Listing[Repository]:
        """All that the app or the token may see, configured or not."""

    def repository(self, full_name: str) -> Repository: ...

    def read_change(self, full_name: str, number: int) -> ChangeReading:
        """The change with its reviewers; teams are expanded where the forge permits."""

    def changes(self, full_name: str, *, since: datetime | None = None, etag: str | None = None) -> Listing[Change]:
        """
        Changes in every state that were updated at *since* or later, last updated first; None: all open ones.

        Requested reviewers are stated, ``files`` and the like are not.

        Args:
            etag: Of an earlier call with *since*; without it there is nothing to compare.
        """

    def history(self, repository: Repository, change: Change, *, since: datetime) -> Listing[ForgeEvent]:
        """
        What happened to the change after *since*: opened, comments, reviews, merged or closed. All certain.

        Keys are those that webhooks give to the same events. What our own login wrote is left out.
        """

    def complete(self, event: ForgeEvent) -> ForgeEvent | Ignored:
        """
        The event with everything that the delivery did not state.

        A review gets its comments; one inline comment by itself becomes ``cl.comment.created``; an empty review
        is ignored. The result is certain.
        """

    def branches(self, full_name: str, *, etag: str | None = None) -> Listing[Branch]: ...

    def files(self, full_name: str, folder: str, *, known: Mapping[str, str]) -> Listing[RepositoryFile]:
        """
        The Markdown files directly in a folder of the default branch; texts of new and changed ones only.

        Args:
            known: Path to ``sha`` of the files whose text the caller has.
        """

    def team_members(self, owner: str, team: str) -> tuple[str, ...] | None:
        """The members' logins; None: we may not see them."""

    def failed_deliveries(self, *, since: datetime) -> Listing[FailedDelivery]:
        """Deliveries to our app that were not taken, each once, and not taken later either; Gitea lists none."""

    def redeliver(self, delivery_id: int) -> None:
        """Ask the forge to repeat a delivery."""

    def close(self) -> None: ...


class StatusWriter(Protocol):
    """
    Shows statuses on one forge. Safe for many threads; shares the reader's connections and tokens.

    Every method may raise ``ForgeFault``; its meaning says what becomes of the status. Names may be old ones: redirects
    are followed.
    """

    def installation(self, full_name: str) -> int | None:
        """
        The installation whose token speaks of this repository, cached; None: the forge has no installations.

        Rate limits are those of an installation: while it is paused, it is not asked. To look it up costs it nothing.
        """

    def apply(self, wanted: WantedStatus) -> AppliedStatus:
        """
        Show what is wanted. Calling twice is safe: a check run is created once, then changed by its number.

        With ``look``, or when the forge no longer has the ``remote_id``, a check run with this name and external id is
        looked for before one is created.
        """

    def add_label(self, full_name: str, sha: str, label: str) -> None:
        """Set a label on the open pull requests whose head is this commit; without one there is nothing to do."""

    def remove_label(self, full_name: str, sha: str, label: str) -> None:
        """Take the label away again where it is set."""


class Workflows(Protocol):
    """
    Runs workflows on one forge. Safe for many threads; shares the reader's connections and tokens.

    Every method may raise ``ForgeFault``.
    """

    def start(self, full_name: str, workflow: str, *, ref: str, inputs: Mapping[str, str]) -> int | None:
        """The run's id; None: the answer does not name it."""

    def find(self, full_name: str, workflow: str, *, name: str) -> WorkflowRun | None:
        """The newest of the last runs that has *name* as a word in its own; None: there is none, or not yet."""

    def run(self, full_name: str, id_: int) -> WorkflowRun | None:
        """None: there is no such run."""

    def cancel(self, full_name: str, id_: int) -> None:
        """A run that has ended stays as it is."""


class WebhookParser(Protocol):
    """Reads the deliveries of one forge. Pure: no clock, no network. Never raises, whatever the bytes are."""

    def event_name(self, headers: Mapping[str, str]) -> str | None:
        """The event's name as this forge spells it; None: no such header. Header names are in lower case."""

    def delivery_id(self, headers: Mapping[str, str]) -> str | None:
        """None: no such header."""

    def parse(self, event_name: str, body: bytes, *, content_type: str, own_login: str | None = None) -> ParsedDelivery:
        """
        What a delivery says.

        Args:
            event_name: Unsigned, so the body must fit it.
            body: As it was received: JSON, or a form with the JSON in ``payload``.
            own_login: Ours; what we write ourselves is ignored.
        """
