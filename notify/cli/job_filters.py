"""The options that select jobs, the same for every command that takes them."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

from typer import BadParameter, Option

from notify.domain.outcomes import JobStatus
from notify.store.outbox.job_filter import JobFilter


def instant(text: str) -> datetime:
    """
    The instant in ISO 8601; without an offset it is UTC.

    Raises:
        BadParameter: It is not one.
    """
    try:
        named = datetime.fromisoformat(text)
    except ValueError:
        message = "expected an instant such as 2026-01-31T14:00 (UTC) or 2026-01-31T14:00+01:00"
        raise BadParameter(message) from None
    return named if named.tzinfo else named.replace(tzinfo=UTC)


def _job_filter(
    *,
    status: Annotated[
        JobStatus | None, Option(metavar="STATUS", help=f"Only jobs with this status: {', '.join(JobStatus)}.")
    ] = None,
    cl: Annotated[str | None, Option(help="Only emails about this change list.")] = None,
    username: Annotated[str | None, Option(help="Only jobs for this person.")] = None,
    event: Annotated[str | None, Option(help="Only emails about the event with this key.")] = None,
    reason: Annotated[str | None, Option(help="Only jobs with this reason, such as template_error.")] = None,
    code: Annotated[int | None, Option(help="Only jobs whose last attempt got this SMTP code, such as 554.")] = None,
    address: Annotated[str | None, Option(help="Only emails to this address.")] = None,
    message_id: Annotated[str | None, Option(help="Only the email with this Message-ID.")] = None,
    queue_id: Annotated[str | None, Option(help="Only emails that the relay accepted under this queue ID.")] = None,
    after: Annotated[
        datetime | None, Option(parser=instant, metavar="INSTANT", help="Only jobs created at or after this instant.")
    ] = None,
    before: Annotated[
        datetime | None, Option(parser=instant, metavar="INSTANT", help="Only jobs created before this instant.")
    ] = None,
) -> JobFilter:
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
    """Add these options to a command, which gets them as one ``job_filter``."""
    options = signature(_job_filter).parameters

    @wraps(command)
    def with_options(**given: Any) -> None:  # noqa: ANN401 - whatever the options hold
        job_filter = _job_filter(**{name: given.pop(name) for name in options})
        command(job_filter=job_filter, **given)

    own = [one for one in signature(command).parameters.values() if one.name != "job_filter"]
    parameters = sorted([*own, *options.values()], key=lambda one: one.kind is Parameter.KEYWORD_ONLY)
    with_options.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_options
