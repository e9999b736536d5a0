"""A DNS server on loopback with a few TXT records."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from socket import AF_INET, SOCK_DGRAM, socket
from threading import Thread

from dns.flags import RA
from dns.message import Message, from_wire, make_response
from dns.name import Name, from_text
from dns.rcode import NXDOMAIN
from dns.rdataclass import IN
from dns.rdatatype import TXT
from dns.resolver import Resolver
from dns.rrset import from_text_list

LARGEST = 4096
LONGEST_STRING = 255
TIMEOUT_SECONDS = 5.0


@contextmanager
def dns_server(texts: Mapping[str, list[str]]) -> Iterator[Resolver]:
    """A resolver for a server that has these TXT records and answers NXDOMAIN for everything not above one of them."""
    with socket(AF_INET, SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        thread = Thread(target=_serve, args=(ours, {from_text(name): words for name, words in texts.items()}))
        thread.start()
        try:
            yield resolver_for(ours.getsockname()[1])
        finally:
            with socket(AF_INET, SOCK_DGRAM) as last:
                last.sendto(b"", ours.getsockname())
            thread.join()


def resolver_for(port: int, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Resolver:
    """A resolver for the server at this port."""
    resolver = Resolver(configure=False)
    resolver.nameservers, resolver.port, resolver.lifetime = ["127.0.0.1"], port, timeout_seconds
    return resolver


def _serve(ours: socket, texts: Mapping[Name, list[str]]) -> None:
    """Answer until an empty packet comes."""
    while True:
        question, caller = ours.recvfrom(LARGEST)
        if not question:
            return
        ours.sendto(_answer(from_wire(question), texts).to_wire(), caller)


def _answer(question: Message, texts: Mapping[Name, list[str]]) -> Message:
    answer = make_response(question)
    answer.flags |= RA
    name = question.question[0].name
    if name in texts:
        quoted = [" ".join(f'"{part}"' for part in _parts(one)) for one in texts[name]]
        answer.answer.append(from_text_list(name, 60, IN, TXT, quoted))
    elif not any(known.is_subdomain(name) for known in texts):
        answer.set_rcode(NXDOMAIN)
    return answer


def _parts(text: str) -> list[str]:
    """Split a text into strings that each fit into a TXT record."""
    return [text[at : at + LONGEST_STRING] for at in range(0, len(text), LONGEST_STRING)] or [""]
