"""The directory: people and change lists, as the code review tool knows them."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from pydantic import Field, StrictBool
from sqlalchemy import Connection

from notify.api import examples
from notify.api.schemas import Address, Link, Locale, Timezone, Username, View
from notify.domain.events import ChangeList
from notify.domain.preferences import Person
from notify.http import auth
from notify.http.bodies import JsonBody
from notify.http.context import InContext
from notify.http.problems import BODY_RESPONSES
from notify.intake.schema import Line, Name, Strict, WebAddress
from notify.store.directory import directory
from notify.store.directory.directory import State
from notify.store.directory.tokens import Scope

router = APIRouter(
    prefix="/api/v1",
    tags=["directory"],
    dependencies=[auth.program_with(Scope.DIRECTORY_WRITE)],
    responses=auth.REFUSALS,
)


class PersonIn(Strict):
    """A person. Absent fields become unknown."""

    email: Address | None = Field(default=None, description="Where the person receives emails.")
    display_name: Line | None = Field(default=None, description="Name shown to other people.")
    locale: Locale | None = Field(default=None, description="BCP 47 language tag.", examples=["en-GB"])
    timezone: Timezone | None = Field(default=None, description="IANA time zone.", examples=["Europe/Berlin"])
    is_bot: StrictBool = Field(default=False, description="Bots get only emails that were switched on for them.")
    active: StrictBool = Field(default=True, description="False: the person has left and gets no emails.")


class ChangeListFacts(Strict):
    """A change list. Absent fields become unknown."""

    title: Line | None = Field(default=None, description="One line.")
    url: WebAddress | None = Field(default=None, description="URL of the change list.")
    repository: Name | None = Field(default=None, description="Repository, shown in the subject of emails.")
    author: Name | None = Field(default=None, description="Username of the author.")
    reviewers: tuple[Name, ...] = Field(default=(), max_length=1_000, fail_fast=True, description="Usernames.")
    state: State = State.OPEN


class ChangeListOut(View):
    """A change list as the directory knows it."""

    link: str
    title: str | None
    url: str | None
    repository: str | None
    author: str | None
    reviewers: list[str]
    state: State


@router.put("/people/{username:path}", responses=BODY_RESPONSES)
def put_person(
    username: Username,
    given: Annotated[PersonIn, Depends(JsonBody(PersonIn, example=examples.PERSON))],
    context: InContext,
) -> Person:
    """
    Store a person.

    Replaces everything that was known about them. Safe to repeat.
    """
    with context.database.begin() as connection:
        directory.put_person(connection, Person(username=username, **given.model_dump()))
        return _person(connection, username)


@router.get("/people/{username:path}")
def get_person(username: Username, context: InContext) -> Person:
    """Show a person."""
    with context.database.begin() as connection:
        return _person(connection, username)


@router.put("/cls/{link:path}", responses=BODY_RESPONSES)
def put_change_list(
    link: Link,
    given: Annotated[ChangeListFacts, Depends(JsonBody(ChangeListFacts, example=examples.CHANGE_LIST))],
    context: InContext,
) -> ChangeListOut:
    """
    Store a change list and its reviewers.

    Replaces everything that was known about it. Safe to repeat.
    """
    with context.database.begin() as connection:
        change_list = ChangeList(link=link, **given.model_dump(exclude={"state"}))
        directory.put_change_list(connection, change_list, state=given.state)
        return _change_list(connection, link)


@router.get("/cls/{link:path}")
def get_change_list(link: Link, context: InContext) -> ChangeListOut:
    """Show a change list and its reviewers."""
    with context.database.begin() as connection:
        return _change_list(connection, link)


def _person(connection: Connection, username: str) -> Person:
    person = directory.person(connection, username)
    if person is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"nobody is called {username}")
    return person


def _change_list(connection: Connection, link: str) -> ChangeListOut:
    change_list, state = directory.change_list(connection, link), directory.state(connection, link)
    if change_list is None or state is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no change list has the link {link}")
    return ChangeListOut.model_validate({**asdict(change_list), "state": state})
