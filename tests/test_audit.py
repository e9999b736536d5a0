"""The audit of locked packages distinguishes known-safe packages from those it could not check."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support import audit

ROOT = Path(__file__).parents[1]
NOBODY = "http://127.0.0.1:1/v1/query"
SICK, SOUND = "sick", "sound"
HASH = "sha256:" + "0" * 64
KNOWN = {
    "id": "GHSA-1",
    "summary": "It leaks.",
    "affected": [
        {
            "package": {"name": SICK, "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}


@contextmanager
def database(*, fails_about: str | None = None) -> Iterator[str]:
    """A database with one vulnerability; it fails for this package, if any."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
            body = json.dumps({"vulns": [KNOWN]} if asked == SICK else {}).encode()
            self.send_response(HTTPStatus.BAD_GATEWAY if asked == fails_about else HTTPStatus.OK)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


@pytest.fixture
def asked() -> Iterator[str]:
    with database() as url:
        yield url


Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Audits a lock of these packages, as `make check` does: the exit code, and what it says."""

    def asked(url: str, *packages: str, options: Sequence[str] = ()) -> tuple[int, str]:
        lock = tmp_path / "requirements.lock"
        lock.write_text("".join(f"{name}==1.0 --hash={HASH}\n" for name in packages))
        code = audit.main(["--database", url, *options, str(lock)])
        return code, capsys.readouterr().err

    return asked


def test_a_known_vulnerability_fails_and_names_the_fix(ask: Ask, asked: str) -> None:
    code, said = ask(asked, SOUND, SICK)

    assert code == 1
    assert "sick 1.0: GHSA-1, mended by 1.1" in said
    assert "NOT AUDITED" not in said


def test_packages_without_a_known_vulnerability_pass(ask: Ask, asked: str) -> None:
    code, said = ask(asked, SOUND)

    assert code == 0
    assert "1 locked packages audited: 0 known vulnerabilities" in said
    assert "NOT AUDITED" not in said


def test_every_package_of_every_lock_is_checked(asked: str) -> None:
    locks = [str(lock) for lock in ROOT.glob("requirements*.lock")]
    found = audit.audit(locks, database=asked)

    assert len(locks) == 3
    assert found.audited > 50
    assert (list(found.findings), list(found.not_audited)) == ([], [])


def test_an_accepted_vulnerability_passes(ask: Ask, asked: str) -> None:
    assert ask(asked, SICK, options=("--accept", "GHSA-1"))[0] == 0


def test_an_unreachable_database_passes_with_a_loud_warning(ask: Ask) -> None:
    code, said = ask(NOBODY, SOUND)

    assert code == 0
    assert "NOT AUDITED" in said
    assert "vulnerabilities" not in said


def test_an_audit_that_fails_while_the_database_answers_is_an_error(ask: Ask) -> None:
    with database(fails_about=SOUND) as url, pytest.raises(audit.AuditFailed):
        ask(url, SOUND)


def test_a_package_that_was_not_checked_is_reported_loudly() -> None:
    found = audit.read({"dependencies": [{"name": "gone", "skip_reason": "not found"}]})

    assert (found.audited, list(found.findings)) == (0, [])
    assert "gone: not found" in found.words
    assert "vulnerabilities" not in found.words
    assert "NOT AUDITED" in found.words
