"""Parses the JSON in the body of a delivery, at a bounded cost for any bytes."""

import json
from binascii import a2b_qp

from notify.forges.common.fields import Fields, Misfit

FORM = "application/x-www-form-urlencoded"
# In GitHub's largest deliveries a value has about 40 bytes; millions of smaller ones would take gigabytes as objects.
MOST_VALUES = 1_000_000
BEGINS_A_VALUE = (b",", b"[", b"{")
PAYLOAD = b"payload="
# The fields that tell the bodies of events apart; the event's name is not signed.
PARTS = ("issue", "comment", "pull_request", "review", "thread", "workflow_run")


def content(body: bytes, content_type: str) -> Fields:
    """
    The JSON object of a delivery.

    Args:
        content_type: As in the header; a form has the JSON in its field ``payload``.

    Raises:
        Misfit: There is none.
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
        Misfit: The body belongs to another event.
    """
    for name in PARTS:
        if (name in body) != (name in parts):
            raise Misfit(f"{name}: {'missing' if name in parts else 'not in the body of this event'}")


def _payload(form: bytes) -> bytes:
    field = next((one for one in form.split(b"&", 16) if one.startswith(PAYLOAD)), None)
    if field is None:
        raise Misfit("body: expected a form with a field payload")
    value = field.removeprefix(PAYLOAD).replace(b"+", b" ")
    # Percent-encoding is quoted-printable with another sign, which binascii decodes fifty times as fast as urllib.
    return a2b_qp(value.replace(b"=", b"%3D").replace(b"%", b"="))
