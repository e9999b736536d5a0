"""Access tokens in the processes of a real worker, obtained over HTTP and from a command."""

from collections.abc import Mapping
from pathlib import Path

from notify.store.database import Database
from tests.support.harness import WorkerHarness, usernames
from tests.support.smtp import AUTH, Authority, ScriptedRelay
from tests.support.token_endpoint import TokenEndpoint
from tests.support.worker import worker

EMAILS = 6


def test_a_worker_uses_a_separate_token_for_each_relay_and_logs_none(
    environment: Mapping[str, str], database: Database, tmp_path: Path
) -> None:
    authority = Authority.made(tmp_path)
    certificate = authority.issues(tmp_path)
    (tmp_path / "secret").write_text("s3cret")
    with (
        TokenEndpoint() as endpoint,
        ScriptedRelay(certificate=certificate, mechanisms=("XOAUTH2",), tokens=set()) as first,
        ScriptedRelay(certificate=certificate, mechanisms=("XOAUTH2",), tokens={"token-1", "token-2"}) as second,
    ):
        asking = f"token_url={endpoint.url}&client_id=4711&client_secret_file={tmp_path / 'secret'}"
        settings = {
            **environment,
            "NOTIFY_SMTP_URL": _url(first, authority, "token_command=echo+token-of-the-first"),
            "NOTIFY_SMTP_FALLBACK_URLS": _url(second, authority, asking),
        }
        harness = WorkerHarness(database, settings["NOTIFY_SMTP_URL"])
        harness.pending_emails(*usernames(EMAILS))
        with worker(settings, tmp_path) as running:
            second.wait_for(EMAILS)
            assert running.stop() == 0

        assert {one.line for one in first.journal.said if one.step == AUTH} == {
            "XOAUTH2 user=ann\x01auth=Bearer token-of-the-first\x01\x01"
        }
        assert first.emails == []
        assert 1 <= len(endpoint.asked) <= running.processes
    log = running.log.read_text()
    assert "auth_refused" in log
    assert "token-" not in log
    assert "s3cret" not in log
    assert {(status, failures) for status, _, failures in harness.attempts()} == {("sent", 0)}


def _url(relay: ScriptedRelay, authority: Authority, tokens: str) -> str:
    return f"smtp://ann@127.0.0.1:{relay.port}?starttls=required&ca={authority.file}&{tokens}"
