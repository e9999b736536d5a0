"""Parts that the figures depend on: the workload is as described, the sink counts correctly, the meter sees work."""

import os
import socket
from pathlib import Path
from re import sub
from statistics import mean

import psutil
import pytest

from notify.channels.email.writing import comments
from notify.embedded.ports import LOOPBACK
from notify.intake.schema import parse
from notify.vcs.commands import Git
from tests.benchmarks import comment_bodies, workload
from tests.benchmarks.measures.builder import rebuilt
from tests.benchmarks.meter import metered, processor_seconds, proportional_bytes
from tests.benchmarks.peers import postfix
from tests.benchmarks.repositories import GREEN, MAIN, repositories
from tests.benchmarks.sample_emails import email_to, ready_bytes
from tests.benchmarks.sink import OWN, sink
from tests.support.emails import NOON, composer
from tests.support.messages import parsed, text_of
from tests.support.remotes import needs_git

EMAIL = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"


@pytest.mark.parametrize("emails", [1, 19, 20, 21, 405])
def test_the_workload_makes_exactly_as_many_emails_as_requested(emails: int) -> None:
    events = [parse(event) for event in workload.events(emails)]
    audiences = [{event.cl.author, *(event.cl.reviewers or ())} for event in events]
    assert sum(map(len, audiences)) == emails
    assert all(len(one) == workload.AUDIENCE for one in audiences[:-1])
    assert len({event.key for event in events}) == len({event.cl.link for event in events}) == len(events)


def test_two_runs_of_the_workload_share_no_key() -> None:
    first, second = ({event["key"] for event in workload.events(40)} for _ in range(2))
    assert first.isdisjoint(second)


def test_comments_have_many_shapes_and_the_typical_one_makes_an_email_of_the_average_size() -> None:
    shapes_of = {
        sub(r"[^<]*(<[^>]*>)[^<]*", r"\1", comments.as_html(comment_bodies.body(number))) for number in range(500)
    }
    assert len(shapes_of) > 250
    writer = composer()
    sizes = [len(writer.compose(email_to(number, 1), date=NOON).content) for number in range(500)]
    typical = len(ready_bytes())
    assert typical == pytest.approx(mean(sizes), rel=0.02)


def test_no_domain_has_more_than_its_share_of_the_people() -> None:
    domains = [workload.address(workload.username(one)).partition("@")[2] for one in range(workload.PEOPLE)]
    assert len(set(domains)) == workload.DOMAINS
    assert max(map(domains.count, set(domains))) < workload.PEOPLE / 2


def test_the_standard_library_builds_the_email_that_is_compared() -> None:
    ours = parsed(composer().compose(email_to(1, 1), date=NOON).content)
    theirs = parsed(bytes(rebuilt(ours)))
    for name in ("From", "To", "Subject", "Message-ID", "List-Unsubscribe"):
        assert theirs[name] == ours[name]
    assert text_of(theirs, "plain").split() == text_of(ours, "plain").split()
    assert text_of(theirs, "html").split() == text_of(ours, "html").split()


def test_our_sink_counts_emails_and_different_ones(tmp_path: Path) -> None:
    with sink(tmp_path, own=True) as made, socket.create_connection((LOOPBACK, made.port), timeout=10) as line:
        assert made.kind == OWN
        for name, body in ((b"<one>", b"words"), (b"<two>", b"words"), (b"<one>", b"others")):
            line.sendall(EMAIL + b"Message-ID: " + name + b"\r\n\r\n" + body + b"\r\n.\r\n")
        counts = made.ask(least=3)
        assert (counts.emails, counts.different) == (3, 2)
        assert made.ask(least=1).answered_at <= counts.answered_at


def test_our_sink_announces_pipelining_only_when_told_to(tmp_path: Path) -> None:
    for pipelining in (True, False):
        with sink(tmp_path, own=True, pipelining=pipelining) as made:
            line = socket.create_connection((LOOPBACK, made.port), timeout=10)
            with line, line.makefile("rb") as answers:
                answers.readline()
                line.sendall(b"EHLO me\r\nQUIT\r\n")
                assert (b"250-PIPELINING\r\n" in answers.readlines()) is pipelining


def test_without_postfix_our_own_sink_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    with postfix.on_path(tmp_path), sink(tmp_path) as made:
        assert made.kind == OWN
    assert os.environ["PATH"] == str(empty)


def test_processor_time_of_our_processes_is_counted() -> None:
    done, ours = processor_seconds()
    sum(number * number for number in range(3_000_000))
    done_since, ours_since = processor_seconds()
    assert done_since > done
    assert ours_since > ours


def test_the_meter_sees_work_and_memory() -> None:
    with metered([os.getpid()]) as meter:
        sum(number * number for number in range(3_000_000))
    assert meter.cpu_seconds > 0
    if Path("/proc/self/smaps_rollup").exists():
        taken = proportional_bytes([psutil.Process()])
        assert taken is not None
        assert 1_000_000 < taken < 100_000_000_000


@needs_git
def test_each_push_moves_one_queue_to_its_next_commit(tmp_path: Path) -> None:
    made = repositories(tmp_path, ["a", "b"], commits=3)
    heads = [made["a"].push() for _ in range(3)]
    made["b"].push()
    log = Git(made["a"].folder, 10).run("log", "--reverse", "--format=%H %ae", MAIN).output.split("\n")
    assert log[:3] == [f"{sha} dana@example.com" for sha in heads]
    assert (made["a"].ref(MAIN), made["b"].ref(MAIN), made["b"].ref(GREEN)) == (heads[2], heads[0], None)
