"""Access tokens: where they come from, when a new one is requested, and who is blamed when there is none."""

import asyncio
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from structlog.testing import capture_logs

from notify.channels.email.channel import EmailChannel
from notify.channels.email.smtp.oauth import AccessTokens, ClientCredentials
from notify.channels.email.smtp.pool import SessionLimits
from notify.channels.email.smtp.relay import Relay
from notify.domain.errors import InvalidSettings
from notify.domain.jobs import EmailAttempt
from notify.domain.outcomes import Blame, Outcome, Phase, Released, Sent
from notify.store.database import Database
from tests.support.emails import NOON, composer, email_facts
from tests.support.harness import WorkerHarness
from tests.support.smtp import AUTH, DOT, Certificate, ScriptedRelay, nobody_listening
from tests.support.token_endpoint import Says, TokenEndpoint

USER, SECRET, SCOPE = "notify@example.com", "the secret/+ of 100% the client", "https://outlook.example/.default"
SHORT, LONG = timedelta(seconds=0.5), timedelta(seconds=20)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate.made(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with TokenEndpoint() as scripted:
        yield scripted


@dataclass
class Tenant:
    """A relay that requires tokens, and the URL that says where they come from."""

    relay: ScriptedRelay
    certificate: Certificate
    secret_file: Path

    def url(self, **options: str | Path | None) -> str:
        """The relay's URL with these options."""
        given = {"starttls": "required", "ca": self.certificate.file, **options}
        query = "&".join(f"{name}={quote_plus(str(value))}" for name, value in given.items() if value is not None)
        return f"smtp://{quote(USER)}@127.0.0.1:{self.relay.port}?{query}"

    def asking(self, url: str, **more: str | None) -> str:
        """The relay's URL with tokens from this endpoint."""
        return self.url(token_url=url, client_id="4711", client_secret_file=self.secret_file, scope=SCOPE, **more)

    def running(self, *words: str) -> str:
        """The relay's URL with tokens that this command prints."""
        return self.url(token_command=shlex.join(words))


@pytest.fixture
def tenant(certificate: Certificate, tmp_path: Path) -> Iterator[Tenant]:
    secret_file = tmp_path / "client secret"
    secret_file.write_text(f"{SECRET}\n")
    with ScriptedRelay(certificate=certificate, mechanisms=("XOAUTH2",), tokens={"token-1"}) as relay:
        yield Tenant(relay, certificate, secret_file)


def channel(
    url: str, *, timeout: timedelta = LONG, limits: SessionLimits | None = None, sessions: int = 4
) -> EmailChannel:
    return EmailChannel(
        Relay.from_url(url),
        composer(),
        bounce_address="bounces@example.com",
        sessions=sessions,
        timeout=timeout,
        limits=limits,
        now=lambda: NOON,
    )


def send(opened: EmailChannel, *, emails: int = 1, between: Callable[[], None] = lambda: None) -> list[Outcome]:
    """The outcomes of emails sent one after another, with an action between two of them."""

    async def main() -> list[Outcome]:
        outcomes = []
        try:
            for number in range(emails):
                outcomes.append(await opened.send(EmailAttempt(facts=email_facts(number))))
                between()
        finally:
            await opened.close()
        return outcomes

    return asyncio.run(main())


def refused(url: str, *, timeout: timedelta = LONG) -> Released:
    (outcome,) = send(channel(url, timeout=timeout))
    assert isinstance(outcome, Released)
    assert outcome.answer is not None
    assert outcome.answer.phase is Phase.AUTH
    return outcome


def words(outcome: Released) -> str:
    return "" if outcome.answer is None else outcome.answer.text


def shown(relay: ScriptedRelay) -> list[str]:
    """The credentials of each AUTH."""
    return [one.line for one in relay.journal.said if one.step == AUTH]


def test_a_relay_that_offers_only_xoauth2_gets_a_token_from_the_endpoint(
    tenant: Tenant, endpoint: TokenEndpoint
) -> None:
    (outcome,) = send(channel(tenant.asking(endpoint.url)))
    assert isinstance(outcome, Sent)
    assert shown(tenant.relay) == [f"XOAUTH2 user={USER}\x01auth=Bearer token-1\x01\x01"]
    form = {"grant_type": "client_credentials", "client_id": "4711", "client_secret": SECRET, "scope": SCOPE}
    assert endpoint.asked == [{"path": "/tenant/oauth2/v2.0/token", **form}]


def test_a_relay_that_offers_oauthbearer_gets_the_token_by_it(tenant: Tenant, endpoint: TokenEndpoint) -> None:
    tenant.relay.mechanisms = ("PLAIN", "XOAUTH2", "OAUTHBEARER")
    (outcome,) = send(channel(tenant.asking(endpoint.url).replace(quote(USER), quote("a=b,c", safe=""))))
    assert isinstance(outcome, Sent)
    (said,) = shown(tenant.relay)
    where = f"host=127.0.0.1\x01port={tenant.relay.port}"
    assert said == f"OAUTHBEARER n,a=a=3Db=2Cc,\x01{where}\x01auth=Bearer token-1\x01\x01"


def test_sessions_opened_together_share_one_token_request_and_later_ones_its_token(
    tenant: Tenant, endpoint: TokenEndpoint
) -> None:
    gate = tenant.relay.pause_at(DOT)

    async def main() -> list[Outcome]:
        opened = channel(tenant.asking(endpoint.url), sessions=4, limits=SessionLimits(emails=1))
        first = asyncio.gather(*(opened.send(EmailAttempt(facts=email_facts(n))) for n in range(4)))
        await asyncio.to_thread(tenant.relay.wait_until, lambda: tenant.relay.open_connections == 4)
        gate.release()
        outcomes = [*await first, await opened.send(EmailAttempt(facts=email_facts(5)))]
        await opened.close()
        return outcomes

    assert all(isinstance(one, Sent) for one in asyncio.run(main()))
    assert (tenant.relay.connections, len(endpoint.asked)) == (5, 1)


@pytest.mark.parametrize("life", [0, "0"], ids=["number", "text"])
def test_an_expired_token_is_not_used_again(tenant: Tenant, endpoint: TokenEndpoint, life: int | str) -> None:
    endpoint.life, tenant.relay.tokens = life, {"token-1", "token-2"}
    outcomes = send(channel(tenant.asking(endpoint.url), limits=SessionLimits(emails=1)), emails=2)
    assert all(isinstance(one, Sent) for one in outcomes)
    assert [one.partition("Bearer ")[2].strip("\x01") for one in shown(tenant.relay)] == ["token-1", "token-2"]


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_a_refused_token_is_replaced_at_once_without_any_effect_on_emails(
    tenant: Tenant, endpoint: TokenEndpoint, mechanism: str
) -> None:
    tenant.relay.mechanisms = (mechanism,)

    def revoke() -> None:
        tenant.relay.tokens = {"token-2"}

    outcomes = send(channel(tenant.asking(endpoint.url), limits=SessionLimits(emails=1)), emails=3, between=revoke)
    assert all(isinstance(one, Sent) for one in outcomes)
    assert len(endpoint.asked) == 2
    assert (tenant.relay.connections, tenant.relay.count(AUTH)) == (4, 4)


def test_a_relay_that_refuses_every_token_is_a_configuration_error_after_one_new_token(
    tenant: Tenant, endpoint: TokenEndpoint
) -> None:
    tenant.relay.answers[AUTH] = "535 5.7.3 Authentication unsuccessful for token-1 and token-2"
    outcome = refused(tenant.asking(endpoint.url))
    assert (outcome.blame, outcome.reason) == (Blame.CONFIGURATION, "auth_refused")
    assert outcome.answer is not None
    assert outcome.answer.code == 535
    assert "token-" not in words(outcome)
    assert (len(endpoint.asked), tenant.relay.connections, tenant.relay.count(AUTH)) == (2, 2, 2)


def test_a_busy_relay_costs_no_new_token(tenant: Tenant, endpoint: TokenEndpoint) -> None:
    tenant.relay.answers[AUTH] = "454 4.7.0 Temporary authentication failure"
    outcome = refused(tenant.asking(endpoint.url))
    assert outcome.blame is not Blame.CONFIGURATION
    assert (len(endpoint.asked), tenant.relay.connections) == (1, 1)


@pytest.mark.parametrize(
    ("says", "blame", "told"),
    [
        (
            Says(401, {"error": "invalid_client", "error_description": "AADSTS7\r\nTrace"}),
            "configuration",
            "401 invalid_client AADSTS7 Trace",
        ),
        (Says(400, {"error": ["a", "list"]}), "configuration", "400"),
        (Says(400, {"error": "invalid_scope"}), "configuration", "400 invalid_scope"),
        (Says(404, b"<html>"), "configuration", "404"),
        (Says(302, b""), "configuration", "302"),
        (Says(200, b"<html>log in to our WLAN</html>"), "configuration", "200"),
        (Says(200, b"[" * 60_000), "configuration", "200"),
        (Says(200, b"x" * 1_000_000, times=1_000_000), "configuration", "200"),
        (Says(200, {"access_token": "two words", "token_type": "Bearer"}), "configuration", "200"),
        (Says(200, {"access_token": "a\x01auth=Bearer b"}), "configuration", "200"),
        (Says(200, {"access_token": None}), "configuration", "200"),
        (Says(400, {"error": "temporarily_unavailable"}), "relay", "temporarily_unavailable"),
        (Says(429, b""), "relay", "429"),
        (Says(503, b"<html>"), "relay", "503"),
    ],
    ids=lambda one: str(one)[:40],
)
def test_the_endpoints_answer_decides_between_waiting_and_a_configuration_error(
    tenant: Tenant, endpoint: TokenEndpoint, says: Says, blame: str, told: str
) -> None:
    endpoint.answers = [says]
    outcome = refused(tenant.asking(endpoint.url))
    assert outcome.blame == blame
    assert outcome.reason == ("token_refused" if outcome.blame is Blame.CONFIGURATION else "token_unavailable")
    assert told in words(outcome)
    assert (tenant.relay.connections, len(endpoint.asked)) == (0, 1)


def test_neither_the_clients_secret_nor_a_token_is_in_an_outcome_or_a_log(
    tenant: Tenant, endpoint: TokenEndpoint
) -> None:
    endpoint.answers = [Says(401, {"error": "invalid_client", "error_description": f"{SECRET} is wrong"})]
    opened = channel(tenant.asking(endpoint.url), limits=SessionLimits(emails=1))
    tenant.relay.answers[AUTH] = "535 5.7.8 not token-2, nor token-3"
    with capture_logs() as logged:
        outcomes = send(opened, emails=2)
    assert all(isinstance(one, Released) for one in outcomes)
    assert SECRET not in f"{outcomes} {logged} {opened!r} {vars(opened)}"
    assert "token-" not in f"{outcomes} {logged}"


def test_an_unreachable_endpoint_is_no_configuration_error(tenant: Tenant) -> None:
    with nobody_listening() as port:
        outcome = refused(tenant.asking(f"http://127.0.0.1:{port}/token"))
    assert (outcome.blame, outcome.reason) == (Blame.RELAY, "token_unavailable")
    assert tenant.relay.connections == 0


def test_a_silent_endpoint_delays_all_sessions_once_and_not_each_in_turn(
    tenant: Tenant, endpoint: TokenEndpoint
) -> None:
    endpoint.hang()

    async def main() -> list[Outcome]:
        opened = channel(tenant.asking(endpoint.url), timeout=SHORT)
        return await asyncio.gather(*(opened.send(EmailAttempt(facts=email_facts(n))) for n in range(4)))

    outcomes = asyncio.run(main())
    assert {(one.blame, one.reason) for one in outcomes if isinstance(one, Released)} == {
        (Blame.RELAY, "token_unavailable")
    }
    assert len(endpoint.asked) == 1


def test_the_endpoints_certificate_is_verified(tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Certificate.made(tmp_path)
    with TokenEndpoint(certificate=own) as endpoint:
        outcome = refused(tenant.asking(endpoint.url))
        assert (outcome.blame, endpoint.asked) == (Blame.CONFIGURATION, [])
        assert "self-signed certificate" in words(outcome)
        monkeypatch.setenv("SSL_CERT_FILE", str(own.file))
        (sent,) = send(channel(tenant.asking(endpoint.url)))
    assert isinstance(sent, Sent)


class Clock:
    """A clock that moves only when told to."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_is_renewed_before_it_expires_and_used_until_then_if_there_is_no_other(
    tenant: Tenant, endpoint: TokenEndpoint
) -> None:
    clock = Clock()
    source = ClientCredentials(token_url=endpoint.url, client_id="4711", client_secret_file=tenant.secret_file)
    endpoint.answers = [Says(), Says(), Says(503), Says(503), Says(503)]

    async def main() -> list[str | Released]:
        tokens, found = AccessTokens(source, clock=clock), []
        for later in (0, 3_299, 2, 3_301, 298, 2):
            clock.now += later
            found.append(await tokens.current())
        return found

    *used, last = asyncio.run(main())
    assert used == ["token-1", "token-1", "token-2", "token-2", "token-2"]
    assert isinstance(last, Released)
    assert [one.get("scope") for one in endpoint.asked] == [None] * 5


def test_a_token_without_a_lifetime_is_renewed_within_minutes(tenant: Tenant, endpoint: TokenEndpoint) -> None:
    endpoint.life, clock = None, Clock()
    source = ClientCredentials(token_url=endpoint.url, client_id="4711", client_secret_file=tenant.secret_file)

    async def main() -> list[str | Released]:
        tokens = AccessTokens(source, clock=clock)
        first = await tokens.current()
        clock.now += timedelta(minutes=5).total_seconds()
        return [first, await tokens.current()]

    assert asyncio.run(main()) == ["token-1", "token-2"]


def test_a_replaced_secret_file_is_read_again(tenant: Tenant, endpoint: TokenEndpoint) -> None:
    endpoint.life, tenant.relay.tokens = 0, {"token-1", "token-2"}

    def replace_it() -> None:
        tenant.secret_file.write_text("another")

    send(channel(tenant.asking(endpoint.url), limits=SessionLimits(emails=1)), emails=2, between=replace_it)
    assert [one["client_secret"] for one in endpoint.asked] == [SECRET, "another"]


def test_a_command_may_print_the_token(tenant: Tenant) -> None:
    (outcome,) = send(channel(tenant.running(sys.executable, "-c", "print('token' + chr(45) + '1')")))
    assert isinstance(outcome, Sent)


def test_a_refused_token_that_a_command_prints_again_is_not_sent_twice(tenant: Tenant) -> None:
    outcome = refused(tenant.running("echo", "token-0"))
    assert (outcome.blame, outcome.reason) == (Blame.CONFIGURATION, "auth_refused")
    assert (tenant.relay.connections, tenant.relay.count(AUTH)) == (1, 1)


@pytest.mark.parametrize(
    ("command", "blame", "told"),
    [
        (["false"], Blame.CONFIGURATION, "exit code 1"),
        (["sh", "-c", "echo token-1; exit 3"], Blame.CONFIGURATION, "exit code 3"),
        (["true"], Blame.CONFIGURATION, "printed nothing"),
        (["echo", "token-1", "token-2"], Blame.CONFIGURATION, "printed no token"),
        (["echo", '{"access_token": "token-1"}'], Blame.CONFIGURATION, "printed no token"),
        (["yes"], Blame.CONFIGURATION, "printed no token"),
        (["sh", "-c", "sleep 60; echo token-1"], Blame.RELAY, "did not answer within 0.5 s"),
        (["sh", "-c", "echo token-1; exec >&-; sleep 60"], Blame.RELAY, "did not answer within 0.5 s"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_a_command_that_prints_no_token_costs_no_email_and_blocks_nobody(
    tenant: Tenant, command: list[str], blame: Blame, told: str
) -> None:
    began = monotonic()
    outcome = refused(tenant.running(*command), timeout=SHORT)
    assert outcome.blame is blame
    assert told in words(outcome)
    assert "token-1" not in words(outcome)
    assert tenant.relay.connections == 0
    assert monotonic() - began < LONG.total_seconds()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"client_secret_file": "/nowhere/secret"}, "No such file"),
        ({"client_secret_file": "/dev/null"}, "empty"),
        ({"ca": "/nowhere/ca.pem"}, "No such file"),
        ({"ca": "/dev/null"}, "no PEM certificate"),
        ({"ca": "/"}, "directory"),
    ],
    ids=str,
)
def test_a_missing_or_invalid_secret_file_stops_the_start_with_a_sentence(
    tenant: Tenant, endpoint: TokenEndpoint, changes: Mapping[str, Any], told: str
) -> None:
    asking = {"token_url": endpoint.url, "client_id": "4711", "client_secret_file": tenant.secret_file}
    with pytest.raises(InvalidSettings, match="NOTIFY_SMTP_URL") as stopped:
        channel(tenant.url(**{**asking, **changes}))
    (problem,) = stopped.value.problems
    assert told in problem
    assert next(iter(changes.values())) in problem


def test_a_missing_command_stops_the_start(tenant: Tenant) -> None:
    with pytest.raises(InvalidSettings, match="notify-no-such-command"):
        channel(tenant.running("notify-no-such-command"))


def test_without_a_token_emails_go_over_the_next_relay_and_none_is_charged(
    tenant: Tenant, relay: ScriptedRelay, database: Database
) -> None:
    with nobody_listening() as port:
        harness = WorkerHarness(
            database,
            tenant.asking(f"http://127.0.0.1:{port}/token"),
            changes={"smtp_fallback_urls": relay.url},
        )
        harness.pending_emails("alice", "bob")
        assert harness.drain()["sent"] == 2
    assert len(relay.emails) == 2
    assert harness.execute("SELECT count(*) FROM notify.email_attempts")[0][0] == 0
    assert {job.failures for job in harness.jobs()} == {0}
