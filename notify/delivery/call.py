"""How work that waits for the database leaves the event loop."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")


class Call(Protocol):
    """Runs a function that waits for the database elsewhere than in the event loop."""

    def __call__(self, function: Callable[..., Result], *args: object) -> Coroutine[Any, Any, Result]: ...
