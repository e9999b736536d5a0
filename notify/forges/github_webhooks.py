"""
Parses GitHub's webhook deliveries into events.

Source: GitHub, "Webhook events and payloads".
"""

from collections.abc import Callable, Mapping

from notify.domain import events, forge_keys
from notify.domain.forge import (
    Account,
    Change,
    ChangeTouched,
    Comment,
    ForgeEvent,
    Ignored,
    ParsedDelivery,
    Ping,
    Repository,
    RepositoryMoved,
    RunEnded,
    Unreadable,
    Verdict,
)
from notify.domain.forge_events import ChangeEvents, is_own
from notify.domain.forge_settings import ForgeSettings
from notify.forges import github_shapes as shapes
from notify.forges.common.bodies import content, expect
from notify.forges.common.fields import Fields, Misfit, one_line
from notify.forges.common.pushes import push

TOUCHES = frozenset({"converted_to_draft", "review_request_removed"})
UNTOLD = frozenset(
    {
        "assigned",
        "unassigned",
        "labeled",
        "unlabeled",
        "locked",
        "unlocked",
        "milestoned",
        "demilestoned",
        "auto_merge_enabled",
        "auto_merge_disabled",
        "enqueued",
        "dequeued",
        "deleted",
    }
)
UNTOLD_OF_RUNS = frozenset({"requested", "in_progress"})


class GitHubParser:
    """A ``WebhookParser``."""

    def __init__(self, settings: ForgeSettings) -> None:
        self._forge, self._bots, self._app_id = settings.name, settings.bots, settings.app_id
        self._events: Mapping[str, Callable[[Fields, str | None], ParsedDelivery]] = {
            "issue_comment": self._issue_comment,
            "pull_request": self._pull_request,
            "pull_request_review": self._review,
            "pull_request_review_comment": self._review_comment,
            "push": self._push,
            "repository": self._repository,
            "workflow_run": self._workflow_run,
            "ping": self._ping,
        }

    def event_name(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-github-event")

    def delivery_id(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-github-delivery")

    def parse(self, event_name: str, body: bytes, *, content_type: str, own_login: str | None = None) -> ParsedDelivery:
        handle = self._events.get(event_name)
        if handle is None:
            return Ignored(reason="merge_queue" if event_name == "merge_group" else "unknown_event")
        try:
            return handle(content(body, content_type), own_login)
        except Misfit as misfit:
            return Unreadable(reason=str(misfit))

    def _issue_comment(self, body: Fields, own_login: str | None) -> ParsedDelivery:
        expect(body, "issue", "comment")
        issue = body.at("issue")
        if "pull_request" not in issue:
            return Ignored(reason="issue")
        if (action := body.text("action")) != "created":
            return Ignored(reason=action if action in {"edited", "deleted"} else "unknown_action")
        repository, change = shapes.repository(body.at("repository")), shapes.change_of_issue(issue, self._bots)
        said = shapes.comment(body.at("comment"), self._bots)
        base = forge_keys.base(self._forge, repository.id)
        return self._commented(
            body, repository, change, said, key=forge_keys.comment(base, said.id), own_login=own_login
        )

    def _review_comment(self, body: Fields, own_login: str | None) -> ParsedDelivery:
        expect(body, "pull_request", "comment")
        if (action := body.text("action")) != "created":
            return Ignored(reason=action if action in {"edited", "deleted"} else "unknown_action")
        repository = shapes.repository(body.at("repository"))
        change = shapes.change(body.at("pull_request"), self._bots)
        said = shapes.comment(body.at("comment"), self._bots)
        base = forge_keys.base(self._forge, repository.id)
        return self._commented(
            body, repository, change, said, key=forge_keys.review_comment(base, said.id), own_login=own_login
        )

    def _commented(
        self,
        body: Fields,
        repository: Repository,
        change: Change,
        said: Comment,
        *,
        key: str,
        own_login: str | None,
    ) -> ParsedDelivery:
        through = body.at("comment").maybe("performed_via_github_app")
        through_our_app = self._app_id is not None and through is not None and through.number("id") == self._app_id
        author = said.author or self._sender(body)
        if is_own(author, own_login) or (through_our_app and author is not None and author.is_bot):
            return ChangeTouched(repository=repository, number=change.number, reason="own")
        if not said.body.strip():
            return Ignored(reason="empty_comment")
        return ForgeEvent(
            type=events.COMMENT_CREATED,
            key=key,
            repository=repository,
            change=change,
            actor=author,
            occurred_at=said.created_at,
            certain=said.review_id is None,
            comment=said,
        )

    def _review(self, body: Fields, own_login: str | None) -> ParsedDelivery:
        expect(body, "pull_request", "review")
        action = body.text("action")
        repository = shapes.repository(body.at("repository"))
        change = shapes.change(body.at("pull_request"), self._bots)
        if action == "dismissed":
            return ChangeTouched(repository=repository, number=change.number, reason="dismissed")
        if action != "submitted":
            return Ignored(reason="edited" if action == "edited" else "unknown_action")
        review = shapes.review(body.at("review"), self._bots)
        if review is None:
            return Ignored(reason="unsubmitted_review")
        author = review.author or self._sender(body)
        if is_own(author, own_login):
            return ChangeTouched(repository=repository, number=change.number, reason="own")
        return ForgeEvent(
            type=events.REVIEW_SUBMITTED,
            key=forge_keys.review(forge_keys.base(self._forge, repository.id), review.id),
            repository=repository,
            change=change,
            actor=author,
            occurred_at=review.submitted_at,
            certain=review.verdict is not Verdict.COMMENTED or bool(review.body.strip()),
            review=review,
        )

    def _pull_request(self, body: Fields, _: str | None) -> ParsedDelivery:  # noqa: C901, PLR0911 - a line an action
        expect(body, "pull_request")
        action = body.text("action")
        repository = shapes.repository(body.at("repository"))
        change = shapes.change(body.at("pull_request"), self._bots)
        told = ChangeEvents(self._forge, repository, change, self._sender(body))
        match action:
            case "opened":
                return told.opened()
            case "ready_for_review":
                return told.ready()
            case "synchronize":
                return told.updated(body.at("pull_request").at("head").line("sha"))
            case "edited" if retargeted := body.at("changes").maybe("base"):
                return told.retargeted(retargeted.at("ref").line("from"))
            case "edited":
                return told.untold("edited")
            case "review_requested":
                if team := body.maybe("requested_team"):
                    return told.requested(None, team.line("slug"))
                return told.requested(body.at("requested_reviewer").line("login"), None)
            case "closed":
                return told.ended()
            case "reopened":
                return told.reopened()
            case _ if action in TOUCHES:
                return told.untold(action)
            case _:
                return Ignored(reason="untold_action" if action in UNTOLD else "unknown_action")

    def _push(self, body: Fields, _: str | None) -> ParsedDelivery:
        expect(body)
        return push(body, shapes.repository(body.at("repository")), self._sender(body))

    def _repository(self, body: Fields, _: str | None) -> ParsedDelivery:
        expect(body)
        action, repository = body.text("action"), shapes.repository(body.at("repository"))
        owner, _, name = repository.full_name.partition("/")
        match action:
            case "renamed":
                before = body.at("changes").at("repository").at("name").line("from")
                return RepositoryMoved(repository=repository, old_name=f"{owner}/{before}", reason=action)
            case "transferred":
                who = body.at("changes").at("owner").at("from")
                old_owner = who.maybe("user") or who.maybe("organization")
                old_name = f"{old_owner.line('login')}/{name}" if old_owner else None
                return RepositoryMoved(repository=repository, old_name=old_name, reason=action)
            case _:
                return Ignored(reason="untold_action")

    def _workflow_run(self, body: Fields, _: str | None) -> ParsedDelivery:
        expect(body, "workflow_run")
        if (action := body.text("action")) != "completed":
            return Ignored(reason="untold_action" if action in UNTOLD_OF_RUNS else "unknown_action")
        return RunEnded(
            repository=shapes.repository(body.at("repository")),
            name=one_line(body.at("workflow_run").words("display_title")),
        )

    def _ping(self, body: Fields, _: str | None) -> ParsedDelivery:
        expect(body)
        body.text("zen")
        return Ping(hook_id=body.maybe_number("hook_id"))

    def _sender(self, body: Fields) -> Account | None:
        return shapes.account(body.maybe("sender"), self._bots)
