"""The options that filter jobs, the same for every command that takes them."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

from typer import BadParameter, Option

from notify.store.outbox.job_filter import JobFilter


def instant(text: str) -> datetime:
    """
    The instant that an ISO 8601 text names; UTC unless it says otherwise.

    Raises:
        BadParameter: It names none.
    """
    try:
        named = datetime.fromisoformat(text)
    except ValueError:
        message = "expected an instant such as 2026-01-31T14:00 (UTC) or 2026-01-31T14:00+01:00"
        raise BadParameter(message) from None
    return named if named.tzinfo else named.replace(tzinfo=UTC)


Status = Annotated[str | None, Option(help="pending, sending, sent, skipped, dead, expired or cancelled.")]
Cl = Annotated[str | None, Option(help="Only emails that tell of this change list.")]
Username = Annotated[str | None, Option(help="Only jobs for this person.")]
EventKey = Annotated[str | None, Option(help="Only emails that tell of the event with this key.")]
Reason = Annotated[str | None, Option(help="Only jobs whose status has this reason: template_error.")]
Code = Annotated[int | None, Option(help="Only jobs whose last attempt got this SMTP code: 554.")]
Address = Annotated[str | None, Option(help="Only emails to this address.")]
MessageId = Annotated[str | None, Option(help="Only the email with this Message-ID.")]
QueueId = Annotated[str | None, Option(help="Only emails that the relay took with these words: its queue id.")]
After = Annotated[
    datetime | None, Option(parser=instant, metavar="INSTANT", help="Only jobs written at this instant or later.")
]
Before = Annotated[
    datetime | None, Option(parser=instant, metavar="INSTANT", help="Only jobs written before this instant.")
]


def chosen(
    *,
    status: Status = None,
    cl: Cl = None,
    username: Username = None,
    event: EventKey = None,
    reason: Reason = None,
    code: Code = None,
    address: Address = None,
    message_id: MessageId = None,
    queue_id: QueueId = None,
    after: After = None,
    before: Before = None,
) -> JobFilter:
    """The filter that these options state."""
    return JobFilter(
        status=status,
        topic=cl,
        username=username,
        event_key=event,
        outcome_reason=reason,
        last_code=code,
        to_email=address,
        message_id=message_id and message_id.strip("<> "),
        queue_id=queue_id,
        created_from=after,
        created_before=before,
    )


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Add these options to the command, which gets their meaning as ``which``."""
    options = signature(chosen).parameters

    @wraps(command)
    def with_options(**given: Any) -> None:  # noqa: ANN401 - whatever the options hold
        which = chosen(**{name: given.pop(name) for name in options})
        command(which=which, **given)

    own = [one for one in signature(command).parameters.values() if one.name != "which"]
    everything = sorted([*own, *options.values()], key=lambda one: one.kind is Parameter.KEYWORD_ONLY)
    with_options.__signature__ = signature(command).replace(parameters=everything)  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in everything}
    return with_options
