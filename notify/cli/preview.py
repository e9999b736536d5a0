"""``notify preview`` and ``notify send-test``: a sample email to look at, and one through the relay."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from typer import Argument, BadParameter, Exit, Option

from notify import wiring
from notify.channels.email.channel import EmailChannel
from notify.channels.languages import DEFAULT
from notify.cli import sample
from notify.cli.connect import complete_settings, known_settings
from notify.cli.output import AsJson, console, print_json
from notify.cli.relays import NoSuchRelay
from notify.domain.errors import InvalidSettings
from notify.domain.events import COMMENT_CREATED
from notify.domain.grammar import is_address
from notify.domain.jobs import EmailAttempt, EmailFacts
from notify.domain.outcomes import Dead, Outcome, Released, Retry, Sent


class EmailFormat(StrEnum):
    TEXT = "text"
    HTML = "html"
    RAW = "raw"


def preview(
    event_type: Annotated[
        str, Argument(metavar="EVENT_TYPE", help="Type of the event that the email is about.")
    ] = COMMENT_CREATED,
    *,
    part: Annotated[
        EmailFormat, Option(help="What to print; raw is the message as it goes to the relay.")
    ] = EmailFormat.TEXT,
    locale: Annotated[str, Option(help="The reader's language, such as de.")] = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Print a sample email, rendered with this deployment's templates. Its links do nothing."""
    settings = known_settings()
    email = sample.email(event_type, host=wiring.message_host(settings), locale=locale)
    composed = wiring.preview_composer(settings).compose(email, date=datetime.now(UTC))
    raw = composed.content.decode("utf-8", errors="replace")
    forms: dict[str, str] = {EmailFormat.TEXT: composed.text, EmailFormat.HTML: composed.html, EmailFormat.RAW: raw}
    if as_json:
        print_json({"subject": composed.subject, **forms})
    else:
        sys.stdout.write(forms[part].rstrip() + "\n")


def send_test(
    address: Annotated[str, Argument(metavar="ADDRESS", help="Where to send the sample email.")],
    *,
    relay: Annotated[
        str | None, Option(metavar="RELAY", help="host:port of the relay to use; by default the first.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send a sample email through a relay now, bypassing the outbox, and print the relay's answer."""
    if not is_address(address):
        message = "expected a bare address such as dana@example.com"
        raise BadParameter(message)
    with complete_settings() as settings:
        channel = _chosen(wiring.channels(settings), relay)
        email = sample.email(COMMENT_CREATED, host=wiring.message_host(settings), to_email=address)
        outcome = asyncio.run(_send(channel, email))
    answer = outcome.answer if isinstance(outcome, Sent | Retry | Dead | Released) else None
    name = type(outcome).__name__.lower()
    if as_json:
        print_json({"outcome": name, "relay": channel.relay, "message_id": email.message_id, "answer": answer})
    else:
        console.print(f"{name}: {answer.code or ''} {answer.text}" if answer else name, markup=False)
    if not isinstance(outcome, Sent):
        raise Exit(1)


def _chosen(channels: Sequence[EmailChannel], relay: str | None) -> EmailChannel:
    if not channels:
        raise InvalidSettings(wiring.NO_MAIL)
    for channel in channels:
        if relay in {None, channel.relay}:
            return channel
    raise NoSuchRelay(relay=relay, configured=", ".join(channel.relay for channel in channels))


async def _send(channel: EmailChannel, email: EmailFacts) -> Outcome:
    try:
        return await channel.open() or await channel.send(EmailAttempt(facts=email))
    finally:
        await channel.close()
