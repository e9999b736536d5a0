"""
The fixtures ``emitted`` and ``delivered``, for the test suites of applications.

Every suite in an environment with notify imports this file; a fixture imports what it needs when it is used.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from notify import recording

if TYPE_CHECKING:
    from notify.testing import Delivered, Emitted
    from notify.testing.delivery_stack import DeliveryStack


@pytest.fixture
def emitted() -> "Iterator[Emitted]":
    """What this test emits, recorded in place of the database: neither that nor a broker is needed."""
    from notify.testing.emitted import Emitted
    from notify.testing.recorder import EmittedRecorder

    recording.recorder = recorder = EmittedRecorder()
    try:
        yield Emitted(recorder)
    finally:
        recording.recorder = None
        recorder.watches.stop()


@pytest.fixture
def delivered(request: pytest.FixtureRequest) -> "Delivered":
    """What this test emits into ``delivered.database_url`` and commits, and the emails about it."""
    if "emitted" in request.fixturenames:
        pytest.fail(
            "a test takes emitted or delivered, not both: with emitted nothing reaches a database", pytrace=False
        )
    from notify.testing.delivered import Delivered

    stack: DeliveryStack = request.getfixturevalue("_delivery_stack")
    stack.empty()
    return Delivered(stack)


@pytest.fixture(scope="session")
def _delivery_stack() -> "Iterator[DeliveryStack]":
    with ExitStack() as exits:
        try:
            from notify.testing.delivery_stack import delivering

            stack = exits.enter_context(delivering())
        except ModuleNotFoundError as error:
            if (error.name or "notify").partition(".")[0] == "notify":
                raise
            needs = f"delivered needs {error.name}, which is not installed: pip install 'notify-outbox[embedded]'"
            pytest.fail(needs, pytrace=False)
        yield stack
