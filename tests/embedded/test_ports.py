"""Ports of the embedded servers."""

from socket import IPPROTO_TCP, TCP_NODELAY, create_connection

from notify.embedded.ports import LOOPBACK, listen


def test_an_answer_in_two_pieces_is_not_delayed() -> None:
    with (
        listen(LOOPBACK, 0) as listening,
        create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(IPPROTO_TCP, TCP_NODELAY)
