"""
A wall clock that is wrong by SKEW_SECONDS, for every process that has this folder on its PYTHONPATH.

Python imports a module of this name before anything else. The monotonic clock is unaffected, as
on a machine whose date is wrong.
"""

import datetime as dt
import os
import time

SKEW = float(os.environ.get("SKEW_SECONDS", "0"))

right_time, right_time_ns = time.time, time.time_ns
Right = dt.datetime


class _AnyDatetime(type):
    """Objects made by C code count as instances too, although they are not of our class."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, Right)


class SkewedDatetime(Right, metaclass=_AnyDatetime):
    """Instants as a wrong clock shows them."""

    __slots__ = ()

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Right:  # type: ignore[override]
        return Right.now(tz) + dt.timedelta(seconds=SKEW)

    @classmethod
    def utcnow(cls) -> Right:  # type: ignore[override]
        return Right.fromtimestamp(right_time() + SKEW, dt.UTC).replace(tzinfo=None)


time.time = lambda: right_time() + SKEW
time.time_ns = lambda: right_time_ns() + int(SKEW * 1e9)
dt.datetime = SkewedDatetime  # type: ignore[misc]
