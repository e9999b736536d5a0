"""
The fixture ``emitted``, for the test suites of applications.

Every suite in an environment with notify imports this file; a fixture imports what it needs when it is used.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from notify import recording

if TYPE_CHECKING:
    from notify.testing import Emitted


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
