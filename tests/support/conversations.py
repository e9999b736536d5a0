"""
How mail clients group emails into conversations.

Source: Jamie Zawinski, "Message Threading", https://www.jwz.org/doc/threading.html, steps 1 to 5.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from email.message import EmailMessage
from itertools import pairwise
from re import IGNORECASE, findall, sub


@dataclass(eq=False)
class Container:
    """A node of a conversation; ``message`` is null while it is known only from references."""

    message: EmailMessage | None = None
    parent: "Container | None" = None
    children: list["Container"] = field(default_factory=list)

    def is_under(self, other: "Container") -> bool:
        return self is other or (self.parent is not None and self.parent.is_under(other))

    def adopt(self, child: "Container") -> None:
        if child.parent is not None:
            child.parent.children.remove(child)
        child.parent = self
        self.children.append(child)

    def messages(self) -> list[EmailMessage]:
        own = [self.message] if self.message is not None else []
        return own + [message for child in self.children for message in child.messages()]

    @property
    def subject(self) -> str:
        """The subject of the first message, without reply prefixes."""
        return sub(r"^(\s*(re|aw|fwd?)(\[\d+\])?:\s*)+", "", str(self.messages()[0]["Subject"]), flags=IGNORECASE)


def conversations(messages: Iterable[EmailMessage]) -> list[list[EmailMessage]]:
    """Group the messages, in whatever order they came, as a mail client shows them."""
    nodes: dict[str, Container] = {}
    for message in messages:
        _insert(nodes, message)
    roots = [one for one in nodes.values() if one.parent is None and one.messages()]
    by_subject: dict[str, list[EmailMessage]] = {}
    for root in roots:
        by_subject.setdefault(root.subject, []).extend(root.messages())
    return list(by_subject.values())


def trees(messages: Iterable[EmailMessage]) -> int:
    """How many conversations a client shows that looks at references only, never at subjects."""
    nodes: dict[str, Container] = {}
    for message in messages:
        _insert(nodes, message)
    return sum(1 for one in nodes.values() if one.parent is None and one.messages())


def _insert(nodes: dict[str, Container], message: EmailMessage) -> None:
    node = nodes.setdefault(str(message["Message-ID"]), Container())
    node.message = message
    chain = [nodes.setdefault(name, Container()) for name in _references(message)]
    for parent, child in pairwise(chain):
        if child.parent is None and not parent.is_under(child):
            parent.adopt(child)
    if chain and not chain[-1].is_under(node):
        chain[-1].adopt(node)


def _references(message: EmailMessage) -> list[str]:
    named = findall(r"<[^<>]+>", str(message["References"] or ""))
    return named or findall(r"<[^<>]+>", str(message["In-Reply-To"] or ""))[:1]
