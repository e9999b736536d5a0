"""A scripted relay: a real SMTP server on loopback whose answers, drops and silences a test decides."""

import hmac
import socket
import ssl
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TIMEOUT_SECONDS = 60.0

GREETING, EHLO, STARTTLS, AUTH = "GREETING", "EHLO", "STARTTLS", "AUTH"
MAIL, RCPT, DATA, CONTENT, DOT = "MAIL", "RCPT", "DATA", "CONTENT", "DOT"
RSET, NOOP, QUIT = "RSET", "NOOP", "QUIT"

EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 10485760")


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """An email that the relay has received in full and has not refused."""

    content: bytes
    sender: str
    recipient: str
    at: datetime
    connection: int
    answered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """The transfer of an email's content: from the relay's 354 to its answer, or to the end of the connection."""

    content: bytes
    connection: int
    began: datetime
    ended: datetime


@dataclass(frozen=True, slots=True)
class ClientLine:
    """One line from the client: the step it belongs to, the line, the number of its connection."""

    step: str
    line: str
    connection: int


Answer = str | Callable[[ClientLine], str | None]


class Gate:
    """Blocks every conversation that reaches a step until it is released."""

    def __init__(self) -> None:
        self.reached = Event()
        self._open = Event()

    def release(self) -> None:
        """Let all blocked conversations continue, and all later ones."""
        self._open.set()

    def wait_until_reached(self) -> None:
        """
        Raises:
            TimeoutError: No conversation reached it.
        """
        if not self.reached.wait(TIMEOUT_SECONDS):
            raise TimeoutError

    def pass_through(self) -> None:
        self.reached.set()
        self._open.wait(TIMEOUT_SECONDS)


class Journal:
    """What happened so far, shared by the threads of all connections."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.emails: list[Received] = []
        self.transfers: list[Transfer] = []
        self.said: list[ClientLine] = []
        self.gates: dict[str, Gate] = {}
        self.lines: dict[int, socket.socket] = {}
        self.connections = 0

    def connected(self, line: socket.socket) -> int:
        """The number of the new connection, from 1."""
        with self.changed:
            self.connections += 1
            self.lines[self.connections] = line
            self.changed.notify_all()
            return self.connections

    def replaced(self, number: int, line: socket.socket) -> None:
        with self.changed:
            self.lines[number] = line

    def disconnected(self, number: int) -> None:
        with self.changed:
            self.lines.pop(number).close()
            self.changed.notify_all()

    def heard(self, said: ClientLine) -> None:
        """Record it, and wait at its gate if there is one."""
        with self.changed:
            self.said.append(said)
            self.changed.notify_all()
        if said.step in self.gates:
            self.gates[said.step].pass_through()

    def received(self, email: Received) -> None:
        with self.changed:
            self.emails.append(email)
            self.changed.notify_all()

    def transferred(self, transfer: Transfer) -> None:
        with self.changed:
            self.transfers.append(transfer)


@dataclass
class ScriptedRelay:
    """
    The server and its script, which may change while it runs. A context manager.

    The steps are ``GREETING EHLO STARTTLS AUTH MAIL RCPT DATA CONTENT DOT RSET NOOP QUIT``;
    ``CONTENT`` is the first line after 354, ``DOT`` the end of the content.

    Args:
        answers: The reply for a step, or a function from the client's line to it; None means the usual reply.
        reply_by_recipient: The reply to RCPT for an address.
        drop_at: Steps at which the relay hangs up instead of answering. An email dropped at ``DOT``
            counts as received: the relay has it.
        silent_at: Steps that are never answered, while the connection stays open.
        extensions: What EHLO announces, besides STARTTLS and AUTH.
        credentials: User and password that AUTH asks for.
        mechanisms: What AUTH offers.
        tokens: The valid access tokens, for any user.
        certificate: Offers STARTTLS, or speaks TLS at once if ``implicit_tls``.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    reply_by_recipient: dict[str, str] = field(default_factory=dict)
    drop_at: set[str] = field(default_factory=set)
    silent_at: set[str] = field(default_factory=set)
    extensions: tuple[str, ...] = EXTENSIONS
    credentials: tuple[str, str] | None = None
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    tokens: set[str] | None = None
    certificate: "Certificate | None" = None
    implicit_tls: bool = False

    def __post_init__(self) -> None:
        self.journal = Journal()
        self._threads: list[Thread] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(TIMEOUT_SECONDS)
        self._listener.close()
        for gate in self.journal.gates.values():
            gate.release()
        self.hang_up()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)

    @property
    def emails(self) -> list[Received]:
        """The emails that the relay accepted, oldest first."""
        return list(self.journal.emails)

    @property
    def transfers(self) -> list[Transfer]:
        """Every transfer that was begun, complete or cut short, in the order in which they ended."""
        return list(self.journal.transfers)

    @property
    def connections(self) -> int:
        """How many connections there have been."""
        return self.journal.connections

    @property
    def open_connections(self) -> int:
        """How many connections are open."""
        return len(self.journal.lines)

    @property
    def url(self) -> str:
        """The relay as ``NOTIFY_SMTP_URL``, without credentials."""
        return f"smtp://127.0.0.1:{self.port}"

    def pause_at(self, step: str) -> Gate:
        """A gate before the reply to this step."""
        return self.journal.gates.setdefault(step, Gate())

    def hang_up(self) -> None:
        """Drop every open connection."""
        with self.journal.changed:
            for line in self.journal.lines.values():
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Forget all received emails."""
        with self.journal.changed:
            self.journal.emails.clear()

    def count(self, step: str) -> int:
        """How often a step was reached."""
        with self.journal.changed:
            return Counter(one.step for one in self.journal.said)[step]

    def wait_for(self, emails: int, timeout: float = TIMEOUT_SECONDS) -> list[Received]:
        """
        The received emails, once there are this many.

        Raises:
            TimeoutError: There are fewer after *timeout* seconds.
        """
        self.wait_until(lambda: len(self.journal.emails) >= emails, timeout)
        return self.emails

    def wait_until(self, happened: Callable[[], bool], timeout: float = TIMEOUT_SECONDS) -> None:
        """
        Return when it has happened; checked after every line the relay receives.

        Raises:
            TimeoutError: It has not after *timeout* seconds.
        """
        with self.journal.changed:
            if not self.journal.changed.wait_for(happened, timeout):
                raise TimeoutError

    def _start(self, work: Callable[[], None]) -> None:
        thread = Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            line.settimeout(TIMEOUT_SECONDS)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # send each reply in its own packet
            self._start(partial(self._converse, line, self.journal.connected(line)))

    def _converse(self, line: socket.socket, number: int) -> None:
        try:
            with suppress(OSError, _HangUp):
                _Dialogue(self, line, number).run()
        finally:
            self.journal.disconnected(number)


class _HangUp(Exception):
    """The relay ends the conversation without another word."""


class _Dialogue:
    """One connection, in its own thread."""

    def __init__(self, relay: ScriptedRelay, line: socket.socket, number: int) -> None:
        self.relay, self.line, self.number = relay, line, number
        self.unread = self.content = b""
        self.secure = False
        self.sender = self.recipient = ""

    def run(self) -> None:
        if self.relay.implicit_tls:
            self._secure()
        self._answer(GREETING, "", "220 relay.test ESMTP")
        while True:
            line = self._read_line().decode(errors="replace")  # implicit TLS has no plain-text start
            verb = line.split(" ", maxsplit=1)[0].upper()
            handler = getattr(self, f"_on_{verb.lower()}", None)
            if handler is None:
                self._write("500 5.5.1 what?")
            else:
                handler(line)

    def _on_ehlo(self, line: str) -> None:
        offers = ["relay.test", *self.relay.extensions]
        if self.relay.certificate and not self.secure:
            offers.append("STARTTLS")
        logs_in = self.relay.credentials or self.relay.tokens is not None
        if logs_in and (self.secure or not self.relay.certificate):
            offers.append(f"AUTH {' '.join(self.relay.mechanisms)}")
        lines = [f"250-{offer}" for offer in offers[:-1]] + [f"250 {offers[-1]}"]
        self._answer(EHLO, line, "\r\n".join(lines))

    def _on_starttls(self, line: str) -> None:
        if self._answer(STARTTLS, line, "220 2.0.0 go ahead"):
            self._secure()

    def _on_auth(self, line: str) -> None:
        _, method, initial, *_ = [*line.split(" "), ""]
        shown = method
        match method.upper():
            case "PLAIN":
                _, user, password = b64decode(initial).decode().split("\0")
                right = (user, password) == self.relay.credentials
            case "LOGIN":
                user, password = b64decode(initial).decode(), self._asked("Password:").decode()
                right = (user, password) == self.relay.credentials
            case "CRAM-MD5":
                user, _, digest = self._asked("<4711@relay.test>").decode().partition(" ")
                known = (self.relay.credentials or ("", ""))[1]
                right = hmac.digest(known.encode(), b"<4711@relay.test>", "md5").hex() == digest
            case _:
                *_, token = b64decode(initial).decode().strip("\1").partition("auth=Bearer ")
                right, shown = token in (self.relay.tokens or ()), f"{method} {b64decode(initial).decode()}"
                if not right:
                    shown += self._asked('{"status":"400","schemes":"bearer"}').decode()
        self._answer(AUTH, shown, "235 2.7.0 welcome" if right else "535 5.7.8 wrong password")

    def _asked(self, challenge: str) -> bytes:
        """The client's answer to a challenge."""
        self._write(f"334 {b64encode(challenge.encode()).decode()}")
        return b64decode(self._read_line())

    def _on_mail(self, line: str) -> None:
        if self._answer(MAIL, line, "250 2.1.0 ok"):
            self.sender = _between(line)

    def _on_rcpt(self, line: str) -> None:
        recipient = _between(line)
        usual = "250 2.1.5 ok" if self.sender else "503 5.5.1 MAIL first"
        if self._answer(RCPT, line, self.relay.reply_by_recipient.get(recipient, usual)):
            self.recipient = recipient

    def _on_data(self, line: str) -> None:
        usual = "354 go ahead" if self.recipient else "503 5.5.1 no valid recipients"
        if self._answer(DATA, line, usual):
            self._take_over()
            self.sender = self.recipient = ""

    def _on_rset(self, line: str) -> None:
        self.sender = self.recipient = ""
        self._answer(RSET, line, "250 2.0.0 forgotten")

    def _on_noop(self, line: str) -> None:
        self._answer(NOOP, line, "250 2.0.0 still here")

    def _on_quit(self, line: str) -> None:
        self._answer(QUIT, line, "221 2.0.0 bye")
        raise _HangUp

    def _take_over(self) -> None:
        began, self.content = datetime.now(UTC), b""
        try:
            self._receive(self._read_content())
        finally:
            transfer = Transfer(content=self.content, connection=self.number, began=began, ended=datetime.now(UTC))
            self.relay.journal.transferred(transfer)

    def _receive(self, content: bytes) -> None:
        said = self._reached(DOT, "")
        reply = self._scripted(said, "250 2.0.0 queued as 4711")
        dropped = DOT in self.relay.drop_at or DOT in self.relay.silent_at
        if dropped or reply.startswith("2"):
            email = Received(
                content=content,
                sender=self.sender,
                recipient=self.recipient,
                at=datetime.now(UTC),
                connection=self.number,
                answered=not dropped,
            )
            self.relay.journal.received(email)
        self._speak(said, reply)

    def _answer(self, step: str, line: str, usual: str) -> bool:
        """Whether the scripted or usual answer to a step is positive."""
        said = self._reached(step, line)
        reply = self._scripted(said, usual)
        self._speak(said, reply)
        return reply[0] in "23"

    def _reached(self, step: str, line: str) -> ClientLine:
        said = ClientLine(step, line, self.number)
        self.relay.journal.heard(said)
        return said

    def _scripted(self, said: ClientLine, usual: str) -> str:
        answer = self.relay.answers.get(said.step, usual)
        return answer if isinstance(answer, str) else answer(said) or usual

    def _speak(self, said: ClientLine, reply: str) -> None:
        if said.step in self.relay.drop_at:
            raise _HangUp
        if said.step in self.relay.silent_at:
            while self.line.recv(65_536):
                pass
            raise _HangUp
        self._write(reply)
        if reply.startswith("421"):
            raise _HangUp

    def _write(self, reply: str) -> None:
        self.line.sendall(reply.encode() + b"\r\n")

    def _read_line(self) -> bytes:
        while b"\r\n" not in self.unread:
            self._read_more()
        line, self.unread = self.unread.split(b"\r\n", maxsplit=1)
        return line

    def _read_content(self) -> bytes:
        """The content with its dots unstuffed; incomplete if the client breaks off."""
        lines: list[bytes] = []
        try:
            while (line := self._read_line()) != b".":
                if not lines:
                    said = self._reached(CONTENT, "")
                    if CONTENT in self.relay.drop_at | self.relay.silent_at:
                        self._speak(said, "")
                lines.append(line.removeprefix(b"."))
        finally:
            self.content = b"".join(line + b"\r\n" for line in lines)
        return self.content

    def _read_more(self) -> None:
        more = self.line.recv(65_536)
        if not more:
            raise _HangUp
        self.unread += more

    def _secure(self) -> None:
        certificate = self.relay.certificate
        assert certificate is not None
        plain = self.line
        self.line = certificate.server_side().wrap_socket(plain, server_side=True)
        self.relay.journal.replaced(self.number, self.line)
        self.secure, self.unread = True, b""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate and its key, in one file."""

    file: Path

    @classmethod
    def made(cls, folder: Path, *, address: str = "127.0.0.1", host: str = "relay.test") -> Self:
        """A certificate for an address and a name, valid for a day."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address)), x509.DNSName(host)])
        certificate = (
            _about(key, named="relay.test", issuer="relay.test")
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        file = folder / f"{address}.pem"
        file.write_bytes(_as_pem(key, certificate))
        return cls(file)

    def server_side(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file)
        return context

    def trusted(self) -> ssl.SSLContext:
        """A client's context that trusts this certificate and no other."""
        return ssl.create_default_context(cafile=self.file)


@dataclass(frozen=True, slots=True)
class Authority:
    """A private authority; ``file`` has its certificate alone."""

    file: Path
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def made(cls, folder: Path) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _about(key, named="authority.test", issuer="authority.test")
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        file = folder / "authority.pem"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(file, key)

    def issues(self, folder: Path, *, names_its_issuers_key: bool = True) -> Certificate:
        """A certificate for 127.0.0.1; without an Authority Key Identifier if it does not name its issuer's key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _about(key, named="relay.test", issuer="authority.test").add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        if names_its_issuers_key:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(identifier, critical=False)
        file = folder / "issued.pem"
        file.write_bytes(_as_pem(key, builder.sign(self._key, hashes.SHA256())))
        return Certificate(file)


def _about(key: ec.EllipticCurvePrivateKey, *, named: str, issuer: str) -> x509.CertificateBuilder:
    """A certificate to be completed and signed, valid for a day."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, named)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _as_pem(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bytes:
    pem, pkcs8, bare = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(pem, pkcs8, bare) + certificate.public_bytes(pem)


def _between(line: str) -> str:
    """The address between the angle brackets of MAIL or RCPT."""
    return line.partition("<")[2].partition(">")[0]


@contextmanager
def nobody_listening() -> Iterator[int]:
    """A loopback port that accepts no connections, reserved so that nobody else gets it."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]
