"""Everything that the API's operations use, made once for the process."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from notify.channels.email.writing.compose import Composer
from notify.channels.links import ForgedLink, SignedLinks
from notify.domain.ports import Doorbell
from notify.http.pages import Pages
from notify.http.person_tokens import PersonTokens
from notify.store.database import Database
from notify.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """
    Attributes:
        showing: A composer for previews; its links do nothing.
        links: None: no secret is configured, so every signed link is forged.
        people: None: neither a secret nor published keys are configured, so no person's token is accepted.
        no_mail: Why nothing is claimed; None: mail is configured.
        relays: Names of those whose breakers health reports, by priority.
        tally: Writes this process's counts; None: nothing is counted.
        calls_per_minute: Limit for each caller; None: none.
        client_seconds: How long a caller may take to send a body.
        names: By which the API may be called, besides local ones; None: by every name.
    """

    database: Database
    doorbell: Doorbell
    pages: Pages
    showing: Composer
    links: SignedLinks | None
    people: PersonTokens | None
    no_mail: str | None
    relays: tuple[str, ...] = ()
    tally: Tally | None = None
    calls_per_minute: int | None = None
    client_seconds: float = 20
    names: Collection[str] | None = None


def of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


InContext = Annotated[Context, Depends(of)]


def _links(context: InContext) -> SignedLinks:
    if context.links is None:
        raise ForgedLink
    return context.links


InLinks = Annotated[SignedLinks, Depends(_links)]
