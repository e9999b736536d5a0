"""What the API answers from, made once by the wiring and handed to every call."""

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
    Everything outside the process that a call may touch.

    ``links`` and ``people`` None mean that no secret is configured, so that no signed link and
    no person's token can be genuine. ``no_mail`` says why nothing is claimed; None: mail is
    configured. ``showing`` writes emails whose links open nothing.
    ``relays`` names those whose breakers health tells of, by priority. ``tally`` writes
    what this process counts; None: nothing does. ``calls_per_minute`` limits each caller; None: nothing does.
    ``client_seconds`` is how long a caller may take to send a body. ``names`` are those by which the API may be
    called, besides local ones; None: every name.
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
