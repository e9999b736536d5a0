"""The doctor names each problem and its fix."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from dns.exception import DNSException
from pydantic import SecretStr
from sqlalchemy import text

from notify.channels.email.smtp.relay import Relay
from notify.channels.email.smtp.relay_check import RelayCheck, check_relay
from notify.channels.email.writing.dkim import Signer, signer
from notify.cli.checks import Finding
from notify.cli.checks.database import transactions
from notify.cli.checks.deployment import callers
from notify.cli.checks.deployment import settings as settings_checks
from notify.cli.checks.mail import certificate
from notify.cli.checks.mail import relay as relays_found
from notify.cli.checks.sender import dns_findings
from notify.cli.connect import Deployment
from notify.domain.measures import CallOrigin, Measure, Role
from notify.domain.preferences import Person
from notify.domain.waves import MIN_DEATHS
from notify.doorbell import NoDoorbell
from notify.store.database import Database
from notify.store.directory import directory, preferences
from notify.store.operations import relays
from notify.tally import Tally
from tests.benchmarks.benchmark_servers import settings
from tests.cli.conftest import Notify
from tests.support import rows
from tests.support.dns_server import dns_server, resolver_for
from tests.support.harness import WorkerHarness, usernames
from tests.support.smtp import Authority, Certificate, ScriptedRelay
from tests.support.token_endpoint import Says, TokenEndpoint

pytestmark = pytest.mark.usefixtures("healthy")

NOW = timedelta(0)
SPF, DMARC, KEY = "v=spf1 include:relay.example -all", "v=DMARC1; p=reject", "v=DKIM1; k=rsa; p=MII"
WELL = {"mail.example": [SPF], "_dmarc.mail.example": [DMARC], "k1._domainkey.mail.example": [KEY]}


@pytest.fixture
def deployment(environment: Mapping[str, str], database: Database) -> Deployment:
    """A deployment that is complete but for a relay."""
    ours = {name: value for name, value in environment.items() if name.startswith("NOTIFY_") and "TEST" not in name}
    return Deployment(settings(ours), database, NoDoorbell())


def changed(deployment: Deployment, **values: object) -> Deployment:
    return Deployment(deployment.settings.model_copy(update=values), deployment.database, deployment.doorbell)


def wrong(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {one.about: one for one in findings if not one.ok}


def found(notify: Notify) -> dict[str, dict[str, str]]:
    """The doctor's findings."""
    return {one["about"]: one for one in notify("doctor", "--json").json if not one["ok"]}


def test_an_open_transaction_is_named_with_the_command_that_ends_it(deployment: Deployment, database: Database) -> None:
    assert wrong(transactions(deployment, longer=NOW)) == {}
    with database.engine.connect() as stuck:
        pid = stuck.scalar(text("SELECT pg_backend_pid()"))
        finding = wrong(transactions(deployment, longer=NOW))["transactions"]
        assert f"pid {pid}" in finding.found
        assert f"pg_terminate_backend({pid})" in finding.fix
        assert wrong(transactions(deployment)) == {}


def test_a_table_that_is_never_vacuumed_is_named(well: Notify, database: Database) -> None:
    assert found(well) == {}
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE notify.email_jobs SET (autovacuum_enabled = false)"))
    try:
        assert set(found(well)) == {"autovacuum email_jobs"}
    finally:
        with database.begin() as connection:
            connection.execute(text("ALTER TABLE notify.email_jobs RESET (autovacuum_enabled)"))


@pytest.mark.parametrize("reason", ["poison", "template_error", "internal_error"])
def test_the_reasons_of_dead_emails_are_named_with_the_command_that_retries_them(
    well: Notify, database: Database, reason: str
) -> None:
    with database.begin() as connection:
        rows.job(connection, **{**rows.ended("dead"), "outcome_reason": reason})
        rows.job(connection, **{**rows.ended("dead"), "outcome_reason": "refused"})
        rows.job(connection, **{**rows.ended("dead", at=rows.ago(days=2)), "outcome_reason": "bad_address"})

    (finding,) = found(well).values()
    assert finding["about"] == "dead in deliver"
    assert f"1 died of {reason}" in finding["found"]
    assert f"notify jobs retry --reason {reason}" in finding["fix"]


@pytest.mark.parametrize(
    ("stage", "command"),
    [
        ("fan_out", "notify events retry"),
        ("inbox", "notify forges deliveries replay"),
        ("reconcile", "notify forges rebuild"),
        ("statuses", "notify statuses retry"),
        ("heads", "push a commit"),
        ("webhooks", "notify webhooks retry"),
    ],
)
def test_what_is_dead_in_a_stage_is_named_with_what_retries_it(
    well: Notify, database: Database, stage: str, command: str
) -> None:
    with database.begin() as connection:
        rows.item(connection, stage, 1, lane=9, reason="poison")
    assert command in found(well)[f"dead in {stage}"]["fix"]


def test_doctor_and_top_name_a_wave_of_dead_emails_long_before_a_hundred_have_died(
    well: Notify, database: Database, relay: ScriptedRelay
) -> None:
    relay.answers["DOT"] = "554 5.6.0 no"
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails(*usernames(MIN_DEATHS - 1))
    harness.drain()
    assert found(well) == {}
    harness.pending_emails("one-more", key="k2", link="CL-2")
    harness.drain()

    finding = found(well)["wave of deaths"]

    assert f"{MIN_DEATHS} of the {MIN_DEATHS} emails" in finding["found"]
    assert finding["fix"].startswith("notify jobs list --status dead --reason refused;")
    listed = well("jobs", "list", "--status", "dead", "--reason", "refused", "--json").json
    assert len(listed) == MIN_DEATHS
    assert [one["about"] for one in well("top", "--once", "--json").json["wrong"]] == ["wave of deaths"]


def test_due_emails_that_no_worker_claims_are_named(well: Notify, database: Database) -> None:
    with database.begin() as connection:
        rows.job(connection, due_at=rows.ago(minutes=10))
        rows.event(connection)

    assert set(found(well)) == {"workers", "queue deliver"}


def test_a_wrong_password_is_not_reported_as_a_relay_that_is_down(
    notify: Notify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = Certificate.made(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.file))
    with ScriptedRelay(certificate=trusted, credentials=("ann", "secret")) as relay:
        monkeypatch.setenv("NOTIFY_SMTP_URL", f"smtp://ann:wrong@127.0.0.1:{relay.port}?starttls=required")
        finding = found(notify)["relay"]
        monkeypatch.setenv("NOTIFY_SMTP_URL", f"smtp://ann:secret@127.0.0.1:{relay.port}?starttls=required")
        assert set(found(notify)) == {"certificate"}

    assert "auth_refused" in finding["found"]
    assert "password" in finding["fix"]
    assert "wrong" not in finding["found"]


@dataclass(frozen=True, slots=True)
class Offered:
    """What the relay offers and accepts, how we log in, and the expected finding."""

    mechanism: str
    login: str
    found: str
    mend: str
    says: Says | None = None


@pytest.mark.parametrize(
    "case",
    [
        Offered("XOAUTH2", "ann:secret@ ", "it accepts access tokens but no password", "?token_url="),
        Offered("PLAIN", "ann@ {asking}", "an access token needs AUTH OAUTHBEARER or AUTH XOAUTH2", "a password"),
        Offered("XOAUTH2", "ann@ {asking}", "auth_refused 535", "who may send with the token"),
        Offered(
            "XOAUTH2",
            "ann@ {asking}",
            "invalid_client AADSTS7",
            "client_id",
            Says(401, {"error": "invalid_client AADSTS7"}),
        ),
        Offered("XOAUTH2", "ann@ {asking}", "token_unavailable", "can be reached", Says(503, b"")),
        Offered("XOAUTH2", "ann@ {asking}&ca=/nowhere", "ca='/nowhere': No such file", "correct what it names"),
        Offered(
            "XOAUTH2", "ann@ token_command=notify-nothing", "'notify-nothing': no such program", "correct what it names"
        ),
        Offered("XOAUTH2", "ann@ token_command=false", "the command false failed with exit code 1", "token_command"),
        Offered("PLAIN", "ann:secret@ ca={other}", "unable to get local issuer certificate", "?ca=FILE"),
    ],
    ids=lambda case: case.found,
)
def test_a_failed_login_is_reported_with_the_setting_that_fixes_it(
    deployment: Deployment, tmp_path: Path, case: Offered
) -> None:
    ours, other = (Authority.made(folder) for folder in (tmp_path, _made(tmp_path / "other")))
    (tmp_path / "secret").write_text("s3cret")
    with (
        TokenEndpoint(answers=[case.says] if case.says else []) as endpoint,
        ScriptedRelay(
            certificate=ours.issues(tmp_path), credentials=("ann", "secret"), mechanisms=(case.mechanism,), tokens=set()
        ) as relay,
    ):
        resolver_for = f"token_url={endpoint.url}&client_id=4711&client_secret_file={tmp_path / 'secret'}"
        user, _, options = case.login.format(asking=resolver_for, other=other.file).partition(" ")
        trust = "" if "ca=" in options else f"&ca={ours.file}"
        url = f"smtp://{user}127.0.0.1:{relay.port}?starttls=required{trust}&{options}"
        finding = wrong(relays_found(changed(deployment, smtp_url=SecretStr(url))))["relay"]
    assert case.found in finding.found
    assert case.mend in finding.fix
    assert "NOTIFY_SMTP_URL" in finding.fix
    assert "s3cret" not in f"{finding}"
    assert "token-" not in f"{finding}"


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_database_that_was_never_migrated_is_named_and_stops_no_other_check(
    well: Notify, unmigrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_DATABASE_URL", unmigrated_database_url)
    assert {about: one["fix"] for about, one in found(well).items()} == {"schema": "notify migrate"}


def test_a_failing_relay_is_named_with_its_reply(well: Notify, relay: ScriptedRelay) -> None:
    relay.answers["GREETING"] = "451 4.3.2 out of disk"
    assert "451 4.3.2 out of disk" in found(well)["relay"]["found"]


def test_a_relay_that_refuses_ordinary_emails_is_named_before_one_is_sent(well: Notify, relay: ScriptedRelay) -> None:
    relay.extensions = ("SIZE 3000",)
    finding = found(well)["relay"]
    assert "size_limit" in finding["found"]
    assert "3000" in finding["found"]
    assert "message_size_limit" in finding["fix"]
    assert relay.count("MAIL") == 0


@pytest.mark.parametrize(("announced", "about"), [("100000", {"size limit"}), ("262144", set()), ("0", set())])
def test_a_relay_that_refuses_the_largest_emails_is_named(
    well: Notify, relay: ScriptedRelay, announced: str, about: set[str]
) -> None:
    relay.extensions = (f"SIZE {announced}",)
    assert found(well).keys() == about


def test_of_two_relays_the_failing_one_is_named(
    well: Notify, database: Database, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedRelay() as second:
        name = second.url.removeprefix("smtp://")
        monkeypatch.setenv("NOTIFY_SMTP_FALLBACK_URLS", second.url)
        assert found(well).keys() == {"relay timeout"}
        monkeypatch.setenv("NOTIFY_SMTP_TIMEOUT_SECONDS", "60")
        assert found(well) == {}

        second.answers["GREETING"] = "451 4.3.2 out of disk"
        finding = found(well)[f"relay {name}"]
        assert "451 4.3.2 out of disk" in finding["found"]
        assert "NOTIFY_SMTP_FALLBACK_URLS" in finding["fix"]

        del second.answers["GREETING"]
        relay.answers["GREETING"] = "451 4.3.2 out of disk"
        assert found(well).keys() == {"relay"}
        with database.begin() as connection:
            relays.mute(connection, name, because=None)
        assert found(well).keys() == {"relay", f"breaker {name}"}


def test_the_expiry_of_the_relays_certificate_is_shown(tmp_path: Path) -> None:
    made = Certificate.made(tmp_path)
    with ScriptedRelay(certificate=made) as relay:
        where = Relay.from_url(f"smtp://127.0.0.1:{relay.port}?starttls=required")
        examined = asyncio.run(check_relay(where, tls=made.trusted()))
        assert examined.refused is None
        assert relay.count("NOOP") == 1
        assert relay.emails == []
    ends = examined.certificate_ends
    assert ends is not None
    assert [one.ok for one in certificate(examined, now=ends - timedelta(days=15))] == [True]
    assert [one.ok for one in certificate(examined, now=ends - timedelta(days=13))] == [False]
    assert certificate(RelayCheck(), now=datetime.now(UTC)) == []


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"lease_seconds": 30.0}, {"lease"}),
        ({"lease_seconds": 60.0}, set()),
        ({"public_url": "http://notify.example.com"}, {"public URL"}),
        ({"public_url": "http://127.0.0.1:8000"}, {"public URL"}),
        ({"keep_sent_days": 100}, {"retention"}),
    ],
    ids=str,
)
def test_contradictory_settings_are_named(deployment: Deployment, changes: dict[str, object], about: set[str]) -> None:
    abroad = deployment.settings.model_validate({"smtp_url": "smtp://relay.example.com"}).smtp_url
    assert set(wrong(settings_checks(changed(deployment, smtp_url=abroad, **changes)))) == about


def test_more_processes_than_the_database_has_connections_for_are_named(
    well: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_WORKER_CONCURRENCY", "256")
    assert set(found(well)) == {"connections"}


def test_people_with_an_unknown_time_zone_are_counted_and_the_zones_named(well: Notify, database: Database) -> None:
    named = ("Mars/Olympus", "../../etc/passwd", "x" * 5_000)
    with database.begin() as connection:
        for number, zone in enumerate([*named, "US/Pacific", "Mars/Olympus", None]):
            directory.put_person(connection, Person(username=f"p{number}", timezone=zone))
        preferences.put_config(connection, "p0", settings={"timezone": "../../etc/passwd"}, preferences={})
        preferences.put_config(connection, "p5", settings={"timezone": "Mars/Olympus"}, preferences={})
    (finding,) = found(well).values()
    assert finding["about"] == "time zones"
    assert finding["found"].startswith("5 people")
    assert all(zone[:30] in finding["found"] for zone in named)
    assert len(finding["found"]) < 200
    assert "US/Pacific" not in finding["found"]


def test_a_template_that_fails_in_one_language_only_is_named(
    well: Notify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "email" / "cl.merged" / "subject.txt"
    broken.parent.mkdir(parents=True)
    broken.write_text("{% if locale == 'de' %}{{ nothing.at_all }}{% else %}fine{% endif %}")
    monkeypatch.setenv("NOTIFY_TEMPLATES_DIR", str(tmp_path))

    (finding,) = found(well).values()
    assert finding["about"] == "template cl.merged"
    assert finding["found"].startswith("de: ")
    assert finding["fix"] == "notify preview cl.merged --locale de"


def test_a_sender_with_complete_dns_records_has_no_findings() -> None:
    with dns_server(WELL) as resolver:
        assert wrong(list(dns_findings(resolver, "mail.example", bounces="mail.example"))) == {}


@pytest.mark.parametrize(
    ("texts", "about"),
    [
        ({"mail.example": ["hello"]}, {"SPF of mail.example", "DMARC of mail.example", "DKIM of mail.example"}),
        ({**WELL, "mail.example": ["v=spf1 +all"]}, {"SPF of mail.example"}),
        ({**WELL, "mail.example": [SPF, "v=spf1 -all"]}, {"SPF of mail.example"}),
        ({name: words for name, words in WELL.items() if "_dmarc" not in name}, {"DMARC of mail.example"}),
        ({name: words for name, words in WELL.items() if "_domainkey" not in name}, {"DKIM of mail.example"}),
    ],
    ids=["nothing", "anybody may send", "two records", "no DMARC", "no keys"],
)
def test_missing_dns_records_of_the_senders_domain_are_named(texts: dict[str, list[str]], about: set[str]) -> None:
    with dns_server(texts) as resolver:
        assert set(wrong(list(dns_findings(resolver, "mail.example", bounces="mail.example")))) == about


@pytest.fixture(scope="module")
def signs(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """A signer with a key of each kind."""
    folder = tmp_path_factory.mktemp("keys")
    for name, key in (
        ("k1", rsa.generate_private_key(65537, 2048)),
        ("k2", ed25519.Ed25519PrivateKey.generate()),
        ("weak", rsa.generate_private_key(65537, 1024)),  # noqa: S505 - what is to be named
    ):
        (folder / name).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files = " ".join(str(folder / name) for name in ("k1", "k2", "weak"))
    return signer(domain="mail.example", selectors="k1 k2 weak", key_files=files)


def dkim(signs: Signer, texts: Mapping[str, list[str]]) -> dict[str, str]:
    """The findings about a domain that publishes these records, by name."""
    with dns_server({"mail.example": [SPF], "_dmarc.mail.example": [DMARC], **texts}) as resolver:
        found = wrong(list(dns_findings(resolver, "mail.example", bounces="mail.example", signer=signs)))
    return {about.removeprefix("DKIM "): finding.found for about, finding in found.items()}


def test_the_published_key_is_compared_with_the_configured_one(signs: Signer) -> None:
    first, second = signs.keys[:2]
    two = Signer(domain=signs.domain, keys=(first, second))
    names = [f"{key.selector}._domainkey.mail.example" for key in two.keys]
    right = {name: [key.record] for name, key in zip(names, two.keys, strict=True)}
    assert dkim(two, right) == {}
    assert dkim(two, {names[0]: [first.record.replace("; ", " ;\t").replace("k=rsa", "s=email; h=sha1:sha256")]}) == {
        names[1]: "no key is published"
    }
    others = {names[0]: [Signer(domain="x", keys=[signs.keys[2]]).keys[0].record], names[1]: [first.record]}
    assert dkim(two, others) == {
        names[0]: "a different key is published",
        names[1]: "it is published as k=rsa, and the configured key is ed25519",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: [record, f"{record};"], "2 records"),
        (lambda _: ["v=DKIM1; k=ed25519; p="], "revoked"),
        (lambda _: ["v=DKIM1; k=ed25519"], "no p="),
        (lambda record: [record.replace("k=ed25519; ", "")], "without k="),
        (lambda record: [record.replace("DKIM1", "DKIM2")], "v=DKIM2"),
        (lambda record: [f"{record}; h=sha1"], "h=sha1"),
        (lambda record: [f"{record}; s=other"], "s=other"),
        (lambda record: [record.replace("p=", "p=AAAA")], "a different key"),
        (lambda record: [record.replace("p=", "p=!")], "a different key"),
    ],
    ids=[
        "twice", "revoked", "no key", "no kind", "version", "hash", "service", "other key", "no base64",
    ],
)  # fmt: skip
def test_each_fault_of_a_published_key_has_its_own_sentence(
    signs: Signer, change: Callable[[str], list[str]], words: str
) -> None:
    key = signs.keys[1]
    found = dkim(Signer(domain=signs.domain, keys=[key]), {"k2._domainkey.mail.example": change(key.record)})
    assert list(found) == ["k2._domainkey.mail.example"]
    assert words in found["k2._domainkey.mail.example"]


def test_a_short_rsa_key_is_named_although_it_is_published(signs: Signer) -> None:
    key = signs.keys[2]
    found = dkim(Signer(domain=signs.domain, keys=[key]), {"weak._domainkey.mail.example": [key.record]})
    assert found == {"key weak": "RSA, 1,024 bits"}


def test_a_domain_is_covered_by_the_dmarc_record_of_its_parent() -> None:
    with dns_server(WELL) as resolver:
        findings = list(dns_findings(resolver, "review.mail.example", bounces="mail.example"))
    assert set(wrong(findings)) == {"DKIM of review.mail.example"}


def test_an_unreachable_dns_server_is_not_reported_as_the_senders_fault() -> None:
    with pytest.raises(DNSException):
        list(dns_findings(resolver_for(1, timeout_seconds=0.2), "mail.example", bounces="mail.example"))


@pytest.mark.parametrize(("untrusted", "names"), [(10, set()), (11, {"callers"})])
def test_callers_behind_an_untrusted_proxy_count_as_one_caller_and_the_doctor_says_so(
    deployment: Deployment, untrusted: int, names: set[str]
) -> None:
    assert callers(deployment) == []

    tally = Tally(deployment.database, process=uuid4(), role=Role.API)
    for way, calls in {CallOrigin.DIRECT: 4, CallOrigin.FORWARDED: 6, CallOrigin.UNTRUSTED: untrusted}.items():
        for _ in range(calls):
            tally.count(Measure.CALL, way)
    tally.flush()

    findings = wrong(callers(deployment))
    assert set(findings) == names
    assert all("FORWARDED_ALLOW_IPS" in one.fix for one in findings.values())


def published() -> dict[str, object]:
    """The secrets of docker-compose.yml in a deployment that sets none of its own."""
    return {
        "database_url": SecretStr("postgresql://notify:development-only@postgres:5432/notify"),
        "secret_keys": SecretStr("development-only-this-signs-the-links-in-emails"),
        "jwt_secret": SecretStr("development-only-this-signs-the-tokens-of-people"),
        "broker_url": SecretStr("amqp://guest:guest@broker//"),
    }


@pytest.mark.parametrize(("public_url", "wrongs"), [("https://notify.example", 1), ("http://127.0.0.1:8000", 0)])
def test_publicly_known_secrets_are_an_error_when_others_can_reach_the_api(
    deployment: Deployment, public_url: str, wrongs: int
) -> None:
    exposed = changed(deployment, public_url=public_url, **published())
    found = [one for one in settings_checks(exposed) if one.about == "secrets" and not one.ok]

    assert len(found) == wrongs
    for one in found:
        assert all(f"NOTIFY_{name.upper()}" in one.found for name in published())
        assert not any(secret.get_secret_value() in repr(one) for secret in published().values())  # type: ignore[attr-defined] # all are


@pytest.mark.parametrize("name", list(published()))
def test_a_single_publicly_known_secret_is_named(deployment: Deployment, name: str) -> None:
    well = changed(deployment, public_url="https://notify.example")
    assert "secrets" not in wrong(list(settings_checks(well)))

    exposed = changed(well, **{name: published()[name]})
    assert wrong(list(settings_checks(exposed)))["secrets"].found.endswith(f": NOTIFY_{name.upper()}")


@pytest.mark.parametrize("command", [["doctor"], ["top", "--once"]], ids=" ".join)
def test_without_a_running_stack_the_problem_is_just_that(
    notify: Notify, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    for name in ("DATABASE_URL", "BROKER_URL", "MAIL_FROM", "PUBLIC_URL", "SECRET_KEYS"):
        monkeypatch.delenv(f"NOTIFY_{name}")
    monkeypatch.setenv("NOTIFY_DATA_DIR", str(tmp_path))
    shown = notify(*command)
    said = notify(*command, "--json").json
    wrong = said["wrong"] if "wrong" in said else [one for one in said if not one["ok"]]
    assert shown.code == 1
    assert [(one["about"], one["fix"]) for one in wrong] == [("notify", "notify up")]
    assert "Fix: notify up" in shown.output
