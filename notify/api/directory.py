"""The directory: people and change lists, as the code review tool knows them."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from pydantic import TypeAdapter

from notify.api.schemas import ChangeListFacts, ChangeListOut, InPath, PersonIn, PersonOut
from notify.http import auth
from notify.http.bodies import JsonBody
from notify.http.context import InContext
from notify.http.problems import OF_BODIES
from notify.store import directory
from notify.store.tokens import Scope

router = APIRouter(
    prefix="/api/v1",
    tags=["directory"],
    dependencies=[auth.program_with(Scope.DIRECTORY_WRITE)],
    responses=auth.REFUSALS,
)


@router.put("/people/{username:path}", responses=OF_BODIES)
def put_person(
    username: InPath, given: Annotated[PersonIn, Depends(JsonBody(TypeAdapter(PersonIn)))], context: InContext
) -> PersonOut:
    """Store a person in place of what was known. Safe to repeat."""
    with context.database.begin() as connection:
        directory.put_person(connection, given.named(username))
        stored = directory.person(connection, username)
    return PersonOut.model_validate(stored)


@router.get("/people/{username:path}")
def get_person(username: InPath, context: InContext) -> PersonOut:
    """One person."""
    with context.database.begin() as connection:
        person = directory.person(connection, username)
    if person is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"nobody is called {username}")
    return PersonOut.model_validate(person)


@router.put("/cls/{link:path}", responses=OF_BODIES)
def put_change_list(
    link: InPath, given: Annotated[ChangeListFacts, Depends(JsonBody(TypeAdapter(ChangeListFacts)))], context: InContext
) -> ChangeListOut:
    """Store a change list and its reviewers in place of what was known. Safe to repeat."""
    change_list = given.linked(link)
    with context.database.begin() as connection:
        directory.put_change_list(connection, change_list, state=given.state)
        stored = directory.change_list(connection, link) or change_list
    return ChangeListOut.of(stored, given.state)


@router.get("/cls/{link:path}")
def get_change_list(link: InPath, context: InContext) -> ChangeListOut:
    """One change list with its reviewers."""
    with context.database.begin() as connection:
        change_list = directory.change_list(connection, link)
        state = directory.state(connection, link)
    if change_list is None or state is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no change list has the link {link}")
    return ChangeListOut.of(change_list, state)
