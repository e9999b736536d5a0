"""Internationalized domains: ours, our readers' and those with a rate."""

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from notify.domain.preferences import Person
from notify.domain.rates import MIN_BURST
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.database import Database
from notify.store.directory import directory
from tests.support.dkim import tags
from tests.support.harness import WorkerHarness, comment
from tests.support.messages import parsed
from tests.support.smtp import ScriptedRelay

OURS = "xn--bcher-kva.example"
IN_A_THREAD = ("Message-ID", "In-Reply-To", "References", "List-Id", "From")
PLAIN = ("PIPELINING", "8BITMIME")


@pytest.mark.parametrize("mail_from", ["notify@bücher.example", "notify@BÜCHER.example", f"notify@{OURS}"])
def test_emails_from_an_internationalized_domain_arrive_at_an_ascii_only_relay(
    database: Database, relay: ScriptedRelay, mail_from: str
) -> None:
    relay.extensions = PLAIN
    harness = WorkerHarness(
        database, relay.url, changes={"mail_from": mail_from, "public_url": "https://prüfung.example/notify"}
    )
    harness.pending_emails("alice")
    assert harness.drain()["sent"] == 1

    (arrived,) = relay.emails
    headers = parsed(arrived.content)
    assert arrived.sender == f"notify@{OURS}"
    for name in IN_A_THREAD:
        assert re.search(rf"[@.]{re.escape(OURS)}>", headers[name]), name
    assert "https://xn--prfung-4ya.example/notify/" in headers["List-Unsubscribe"]


def test_the_envelope_and_the_signature_use_the_ascii_form_of_domains(
    database: Database, relay: ScriptedRelay, tmp_path: Path
) -> None:
    relay.extensions = PLAIN
    key = rsa.generate_private_key(65537, 2048)
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signing = {"dkim_selector": "mail", "dkim_key_file": str(tmp_path / "key.pem"), "dkim_domain": "straße.example"}
    harness = WorkerHarness(database, relay.url, changes={**signing, "bounce_address": "bounces@straße.example"})
    harness.pending_emails("alice")
    assert harness.drain()["sent"] == 1

    (arrived,) = relay.emails
    assert arrived.sender == "bounces@xn--strae-oqa.example"
    assert tags(arrived.content)["d"] == "xn--strae-oqa.example"


@pytest.mark.parametrize("stated", ["bücher.example=0.01", f"{OURS}=0.01", "*.example=0.01"])
def test_a_domains_rate_applies_however_the_domain_is_spelled(
    database: Database, relay: ScriptedRelay, stated: str
) -> None:
    relay.extensions = PLAIN
    people = {f"reader-{n}": f"reader-{n}@{'bücher.example' if n % 2 else OURS.upper()}" for n in range(6)}
    harness = WorkerHarness(database, relay.url, changes={"domain_rates": stated})
    with database.begin() as connection:
        for username, email in people.items():
            directory.put_person(connection, Person(username=username, email=email))
        receive(connection, [parse(comment(reviewers=list(people)))])
    harness.fan_out()
    harness.drain()
    assert len(relay.emails) == MIN_BURST
    assert {one.recipient.partition("@")[2].lower() for one in relay.emails} == {OURS}
