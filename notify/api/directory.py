"""The directory: people and change lists, as the code review tool knows them."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from sqlalchemy import Connection

from notify.api.schemas import ChangeListFacts, ChangeListOut, InPath, PersonIn
from notify.domain.preferences import Person
from notify.http import auth
from notify.http.bodies import JsonBody
from notify.http.context import InContext
from notify.http.problems import OF_BODIES
from notify.store.directory import directory
from notify.store.directory.tokens import Scope

router = APIRouter(
    prefix="/api/v1",
    tags=["directory"],
    dependencies=[auth.program_with(Scope.DIRECTORY_WRITE)],
    responses=auth.REFUSALS,
)


@router.put("/people/{username:path}", responses=OF_BODIES)
def put_person(username: InPath, given: Annotated[PersonIn, Depends(JsonBody(PersonIn))], context: InContext) -> Person:
    """Store a person in place of what was known. Safe to repeat."""
    with context.database.begin() as connection:
        directory.put_person(connection, given.named(username))
        return _person(connection, username)


@router.get("/people/{username:path}")
def get_person(username: InPath, context: InContext) -> Person:
    """One person."""
    with context.database.begin() as connection:
        return _person(connection, username)


@router.put("/cls/{link:path}", responses=OF_BODIES)
def put_change_list(
    link: InPath, given: Annotated[ChangeListFacts, Depends(JsonBody(ChangeListFacts))], context: InContext
) -> ChangeListOut:
    """Store a change list and its reviewers in place of what was known. Safe to repeat."""
    with context.database.begin() as connection:
        directory.put_change_list(connection, given.linked(link), state=given.state)
        return _change_list(connection, link)


@router.get("/cls/{link:path}")
def get_change_list(link: InPath, context: InContext) -> ChangeListOut:
    """One change list with its reviewers."""
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
