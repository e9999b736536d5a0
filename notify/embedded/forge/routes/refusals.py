"""The errors with which the embedded forge answers, in GitHub's words."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

DOCUMENTATION = "https://docs.github.com/rest"


class Refused(Exception):
    """
    A call that gets an error for an answer.

    Args:
        headers: Besides the usual ones.
        details: In the body, besides the message.
    """

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {
            "message": message,
            "documentation_url": DOCUMENTATION,
            "status": str(status.value),
            **(details or {}),
        }


class Invalid(Refused):
    """A call whose body has a value that cannot be."""

    def __init__(self, resource: str, field: str, message: str) -> None:
        """
        Args:
            message: What is wrong with the field, without its name.
        """
        error = {"resource": resource, "code": "custom", "field": field, "message": f"{field} {message}"}
        super().__init__(HTTPStatus.UNPROCESSABLE_ENTITY, "Validation Failed", details={"errors": [error]})


class InvalidRequest(Refused):
    """A call whose body is not of the form that GitHub's description asks for."""

    def __init__(self, words: str) -> None:
        super().__init__(HTTPStatus.UNPROCESSABLE_ENTITY, f"Invalid request.\n\n{words}")
