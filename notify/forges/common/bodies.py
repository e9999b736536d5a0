"""The JSON in the body of a delivery, at a bounded cost whatever the bytes are."""

import json
from binascii import a2b_qp

from notify.forges.common.fields import Fields, Misfit

FORM = "application/x-www-form-urlencoded"
# Of GitHub's largest deliveries a value has some 40 bytes; this many small ones would take gigabytes as objects.
MOST_VALUES = 1_000_000
BEGINS_A_VALUE = (b",", b"[", b"{")
PAYLOAD = b"payload="
# What tells the bodies of one event from those of another, whose name nobody signed.
PARTS = ("issue", "comment", "pull_request", "review", "thread")


def content(body: bytes, content_type: str) -> Fields:
    """
    The object that a delivery states.

    Args:
        content_type: As in the header; a form has the JSON in its field ``payload``.

    Raises:
        Misfit: It states none.
    """
    stated = _payload(body) if content_type.partition(";")[0].strip().lower() == FORM else body
    if sum(stated.count(one) for one in BEGINS_A_VALUE) > MOST_VALUES:
        raise Misfit("body: expected fewer values")
    try:
        return Fields(json.loads(stated))
    except (ValueError, RecursionError):
        raise Misfit("body: expected JSON") from None


def expect(body: Fields, *parts: str) -> None:
    """
    Raises:
        Misfit: It is the body of another event.
    """
    for name in PARTS:
        if (name in body) != (name in parts):
            raise Misfit(f"{name}: {'missing' if name in parts else 'not in the body of this event'}")


def _payload(form: bytes) -> bytes:
    field = next((one for one in form.split(b"&", 16) if one.startswith(PAYLOAD)), None)
    if field is None:
        raise Misfit("body: expected a form with a field payload")
    value = field.removeprefix(PAYLOAD).replace(b"+", b" ")
    # Quoted-printable is percent-encoding with another sign, and binascii reads it in a fiftieth of urllib's time.
    return a2b_qp(value.replace(b"=", b"%3D").replace(b"%", b"="))
