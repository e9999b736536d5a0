"""Everything that the API's operations use, created once per process."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from notify.channels.email.writing.compose import Composer
from notify.channels.links import ForgedLink, SignedLinks
from notify.domain.ports import Doorbell
from notify.heads.stage import Queues
from notify.http.pages import Pages
from notify.http.person_tokens import PersonTokens
from notify.store.database import Database
from notify.tally import Tally
from notify.work.forges import Forges


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """
    Attributes:
        preview_composer: A composer for previews; its links do nothing.
        links: None: no secret is configured, so no signed link is valid.
        people: None: neither a secret nor published keys are configured, so no person's token is valid.
        no_mail: Why nothing is claimed; None: mail is configured.
        relays: Names of the relays that health reports, by priority.
        tally: Writes this process's counts; None: nothing is counted.
        calls_per_minute: Limit for each caller; None: unlimited.
        client_seconds: How long a caller may take to send a body.
        forges: Forges whose webhooks are taken.
        queues: Queues whose heads are validated.
        keys: Of `NOTIFY_SECRET_KEYS`, newest first; empty: no webhook endpoint gets a secret.
        operators: People whose preferences page has the emails for operators.
        names: Host names the API answers to, besides local ones; None: any.
    """

    database: Database
    doorbell: Doorbell
    pages: Pages
    preview_composer: Composer
    links: SignedLinks | None
    people: PersonTokens | None
    no_mail: str | None
    forges: Forges
    queues: Queues
    keys: Sequence[str] = ()
    operators: Collection[str] = ()
    relays: tuple[str, ...] = ()
    tally: Tally | None = None
    calls_per_minute: int | None = None
    client_seconds: float = 20
    names: Collection[str] | None = None


def of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _of(request: Request) -> Context:
    """FastAPI calls what is not asynchronous in a thread."""
    return of(request)


InContext = Annotated[Context, Depends(_of)]


def _links(context: InContext) -> SignedLinks:
    if context.links is None:
        raise ForgedLink
    return context.links


InLinks = Annotated[SignedLinks, Depends(_links)]
