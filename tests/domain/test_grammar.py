"""Which values are trace contexts."""

import pytest

from notify.domain.grammar import trace_id, valid_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_trace_is_identified_by_its_id() -> None:
    assert valid_traceparent(f"00-{TRACE}-{SPAN}-01") == f"00-{TRACE}-{SPAN}-01"
    assert trace_id(f"00-{TRACE}-{SPAN}-01") == TRACE


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "trace",
        f"01-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_an_unreadable_value_has_no_trace(value: str | None) -> None:
    assert valid_traceparent(value) is None
