"""The catcher: whatever the relay accepted is on disk."""

import smtplib
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM
from subprocess import PIPE, Popen
from urllib.parse import urlsplit

import httpx
import pytest

from notify.embedded.catcher import Catcher, running_catcher
from notify.embedded.mailbox import CaughtEmail, Mailbox
from notify.embedded.ports import LOOPBACK, free_port

MESSAGE = b"From: a@example.com\r\nSubject: Hello\r\n\r\n.dot\r\n..dots\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "emails"


@pytest.fixture
def catcher(folder: Path) -> Iterator[Catcher]:
    with running_catcher(folder) as running:
        yield running


def port(url: str) -> int:
    return urlsplit(url).port or 0


def send(catcher: Catcher, content: bytes, *, to: str = "b@example.com") -> None:
    with smtplib.SMTP(LOOPBACK, port(catcher.smtp_url)) as session:
        session.sendmail("a@example.com", to, content)


def emails(folder: Path) -> list[CaughtEmail]:
    return list(Mailbox(folder).newest_first())


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.eml"))


def test_an_email_is_on_disk_when_the_relay_has_accepted_it(catcher: Catcher, folder: Path) -> None:
    send(catcher, MESSAGE)
    (kept,) = files(folder)
    assert kept.read_bytes() == b"Return-Path: <a@example.com>\r\nDelivered-To: b@example.com\r\n" + MESSAGE


def test_emails_are_listed_newest_first(catcher: Catcher, folder: Path) -> None:
    for number in range(3):
        send(catcher, b"Subject: %d\r\n\r\n" % number)
    assert [one.email.header("Subject") for one in emails(folder)] == ["2", "1", "0"]


@pytest.mark.parametrize(
    "content",
    [bytes(range(256)), b"", b"\r\n", b"Content-Type: multipart/mixed\r\n\r\n", b"Subject: \xff\xfe\r\n\r\n\x00"],
    ids=["every byte", "nothing", "an empty line", "no boundary", "no charset"],
)
def test_a_hostile_email_is_kept_and_so_is_the_next(catcher: Catcher, folder: Path, content: bytes) -> None:
    send(catcher, content)
    send(catcher, MESSAGE)
    assert len(emails(folder)) == 2
    assert all(httpx.get(f"{catcher.inbox_url}/emails/{one.id}").is_success for one in emails(folder))


def test_an_address_beyond_ascii_is_accepted(catcher: Catcher, folder: Path) -> None:
    with smtplib.SMTP(LOOPBACK, port(catcher.smtp_url)) as session:
        session.ehlo()
        session.sendmail("zoë@example.com", ["jürgen@example.com"], MESSAGE, mail_options=["SMTPUTF8"])
    (kept,) = emails(folder)
    assert kept.email.header("Return-Path") == "<zoë@example.com>"


def test_emails_survive_a_restart(folder: Path) -> None:
    with running_catcher(folder) as first:
        send(first, MESSAGE)
    before = emails(folder)
    with running_catcher(folder) as second:
        send(second, MESSAGE)
    assert emails(folder)[1:] == before


def test_only_the_newest_emails_are_kept(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path, kept=2)
    identifiers = [mailbox.add(MESSAGE, sender="a@example.com", recipients=["b@example.com"]) for _ in range(4)]
    assert [one.id for one in mailbox.newest_first()] == identifiers[:1:-1]
    assert sorted(path.stem for path in tmp_path.iterdir()) == identifiers[2:]


def test_an_envelope_cannot_add_a_header(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    identifier = mailbox.add(MESSAGE, sender="a@example.com>\r\nX-Notify-Reason: forged", recipients=["b@example.com"])
    caught = mailbox.find(identifier)
    assert caught is not None
    assert caught.email.header("X-Notify-Reason") == ""


def test_an_email_cut_off_while_being_written_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "20260101T000000.000000Z-000000000.unfinished").write_bytes(b"Subject: half")
    assert len(emails(tmp_path)) == 0


def test_a_taken_port_is_reported_and_the_other_one_released(catcher: Catcher, tmp_path: Path) -> None:
    other = free_port()
    second = running_catcher(tmp_path / "second", smtp_port=other, inbox_port=port(catcher.inbox_url))
    with pytest.raises(OSError, match="in use"), second:
        pass
    assert free_port(other) == other


def test_the_process_catches_emails_until_it_is_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "notify.embedded.catcher", "--smtp-port", "0", "--inbox-port", "0"]
    with Popen([*command, "--folder", str(tmp_path)], stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        smtp = int(process.stdout.readline().split(",")[0].rpartition(":")[2])
        with smtplib.SMTP(LOOPBACK, smtp) as session:
            session.sendmail("a@example.com", "b@example.com", MESSAGE)
        process.send_signal(SIGTERM)
        assert process.wait(60) == 0
    assert len(emails(tmp_path)) == 1
