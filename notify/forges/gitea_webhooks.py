"""
Parses webhook deliveries of Gitea and Forgejo, which are the same, into events.

Gitea also sends GitHub's headers, with other event names; only its own headers are read.
Sources: go-gitea/gitea, services/webhook/notifier.go and modules/structs/hook.go.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from notify.domain import events, forge_keys
from notify.domain.forge import (
    Account,
    ChangeTouched,
    ForgeEvent,
    Ignored,
    ParsedDelivery,
    Review,
    Unreadable,
    Verdict,
)
from notify.domain.forge_events import ChangeEvents, is_own
from notify.domain.forge_settings import ForgeSettings
from notify.forges import gitea_shapes as shapes
from notify.forges.common.bodies import content, expect
from notify.forges.common.fields import Fields, Misfit
from notify.forges.common.pushes import push

REVIEWS: Mapping[str, Verdict] = MappingProxyType(
    {
        "pull_request_review_approved": Verdict.APPROVED,
        "pull_request_review_rejected": Verdict.CHANGES_REQUESTED,
        "pull_request_review_comment": Verdict.COMMENTED,
    }
)
UNTOLD = frozenset({"pull_request_assign", "pull_request_label", "pull_request_milestone", "repository"})


class GiteaParser:
    """A ``WebhookParser``."""

    def __init__(self, settings: ForgeSettings) -> None:
        self._forge, self._bots = settings.name, settings.bots
        self._events: Mapping[str, Callable[[Fields, str | None], ParsedDelivery]] = {
            "pull_request": self._pull_request,
            "pull_request_sync": self._pull_request,
            "pull_request_review_request": self._pull_request,
            "pull_request_comment": self._comment,
            "push": self._push,
        } | dict.fromkeys(REVIEWS, self._review)

    def event_name(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-gitea-event-type")

    def delivery_id(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-gitea-delivery")

    def parse(self, event_name: str, body: bytes, *, content_type: str, own_login: str | None = None) -> ParsedDelivery:
        handle = self._events.get(event_name)
        if handle is None:
            return Ignored(reason="untold_action" if event_name in UNTOLD else "unknown_event")
        try:
            return handle(content(body, content_type), own_login)
        except Misfit as misfit:
            return Unreadable(reason=str(misfit))

    def _comment(self, body: Fields, own_login: str | None) -> ParsedDelivery:
        # Only newer servers state the pull request.
        expect(body, "issue", "comment", *(["pull_request"] if "pull_request" in body else []))
        if not body.flag("is_pull"):
            return Ignored(reason="issue")
        if (action := body.text("action")) != "created":
            return Ignored(reason=action if action in {"edited", "deleted"} else "unknown_action")
        repository = shapes.repository(body.at("repository"))
        pull = body.maybe("pull_request")
        change = shapes.change(pull, self._bots) if pull else shapes.change_of_issue(body.at("issue"), self._bots)
        said = shapes.comment(body.at("comment"), self._bots)
        author = said.author or self._sender(body)
        if is_own(author, own_login):
            return ChangeTouched(repository=repository, number=change.number, reason="own")
        if not said.body.strip():
            return Ignored(reason="empty_comment")
        return ForgeEvent(
            type=events.COMMENT_CREATED,
            key=forge_keys.comment(forge_keys.base(self._forge, repository.id), said.id),
            repository=repository,
            change=change,
            actor=author,
            occurred_at=said.created_at,
            comment=said,
        )

    def _review(self, body: Fields, own_login: str | None) -> ParsedDelivery:
        """The verdict is from the body, which is signed. The review's id is not stated."""
        expect(body, "pull_request", "review")
        stated = body.at("review")
        verdict = REVIEWS.get(stated.text("type"))
        if verdict is None or body.text("action") != "reviewed":
            return Ignored(reason="unknown_action")
        repository = shapes.repository(body.at("repository"))
        change = shapes.change(body.at("pull_request"), self._bots)
        author = self._sender(body)
        if is_own(author, own_login):
            return ChangeTouched(repository=repository, number=change.number, reason="own")
        return ForgeEvent(
            type=events.REVIEW_SUBMITTED,
            key=forge_keys.review(forge_keys.base(self._forge, repository.id), 0),
            repository=repository,
            change=change,
            actor=author,
            occurred_at=change.updated_at,
            certain=False,
            review=Review(
                id=0,
                author=author,
                verdict=verdict,
                body=stated.words("content"),
                url=change.url,
                submitted_at=change.updated_at,
            ),
        )

    def _pull_request(self, body: Fields, _: str | None) -> ParsedDelivery:  # noqa: PLR0911 - a line an action
        expect(body, "pull_request")
        action, pull = body.text("action"), body.at("pull_request")
        repository, change = shapes.repository(body.at("repository")), shapes.change(pull, self._bots)
        told = ChangeEvents(self._forge, repository, change, self._sender(body))
        match action:
            case "opened":
                return told.opened()
            case "synchronized":
                return told.updated(pull.at("head").line("sha"))
            case "edited":
                return self._edited(told, body.maybe("changes"))
            case "review_requested":
                return told.requested(body.at("requested_reviewer").line("login"), None)
            case "review_request_removed":
                return told.untold(action)
            case "closed":
                return told.ended()
            case "reopened":
                return told.reopened()
            case _:
                return Ignored(reason="unknown_action")

    def _edited(self, told: ChangeEvents, changes: Fields | None) -> ParsedDelivery:
        """In Gitea the title makes a change a draft, and a new base is stated as a changed ``ref``."""
        title = changes.maybe("title") if changes else None
        if title and shapes.is_draft_title(title.words("from")):
            return told.ready()
        base = changes.maybe("ref") if changes else None
        return told.retargeted(base.line("from")) if base else told.untold("edited")

    def _push(self, body: Fields, _: str | None) -> ParsedDelivery:
        expect(body)
        return push(body, shapes.repository(body.at("repository")), self._sender(body))

    def _sender(self, body: Fields) -> Account | None:
        return shapes.account(body.maybe("sender"), self._bots)
