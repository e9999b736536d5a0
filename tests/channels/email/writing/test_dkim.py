"""DKIM signatures are valid, cover what unsubscribes, and allow no additions."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from email.utils import parseaddr
from pathlib import Path
from shutil import which
from subprocess import run

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from dkim.canonicalization import Relaxed
from hypothesis import given
from hypothesis import strategies as st

from notify import wiring
from notify.channels.email.writing.dkim import Signer, relaxed_body, signer
from notify.domain.errors import InvalidSettings
from notify.domain.jobs import EmailAttempt, EmailFacts
from notify.domain.outcomes import Sent
from notify.domain.preferences import Person
from notify.settings import Settings, refuse_half_configured
from tests.support.dkim import holds, second_opinions, tags
from tests.support.emails import ALICE, NOON, composer, email_facts
from tests.support.smtp import ScriptedRelay

RSA, ED25519 = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
PKCS1, PKCS8 = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8
NAMES = ["Dana Reyes", "Dana O'Neil", "J. R. Meyer", "Meyer, Dana", 'Dana "D" Reyes', "dana-2", "張偉", "D" * 90]
needs_openssl = pytest.mark.skipif(which("openssl") is None, reason="the command openssl is not installed")
FOLD_WITH_TAB = b"\r\n\t"


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, *, form: PrivateFormat = PKCS8) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def settings(key_file: str, **more: object) -> Settings:
    given = {
        "mail_from": "notify@example.com",
        "public_url": "https://notify.example",
        "secret_keys": "s" * 32,
        "dkim_selector": "mail",
        "dkim_key_file": key_file,
    }
    return Settings(**{**given, **more})


@pytest.fixture(params=[PKCS1, PKCS8], ids=["PKCS1", "PKCS8"])
def key_file(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    path = tmp_path / "dkim.pem"
    path.write_bytes(pem(RSA, form=request.param))
    return str(path)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """A signer with a key of each kind."""
    folder = tmp_path_factory.mktemp("keys")
    for name, key in (("old", RSA), ("new", ED25519)):
        (folder / name).write_bytes(pem(key))
    return signer(domain="example.com", selectors="old new", key_files=f"{folder / 'old'} {folder / 'new'}")


def records(signs: Signer) -> dict[str, str]:
    """The DNS records of the domain."""
    return {f"{key.selector}._domainkey.{signs.domain}": key.record for key in signs.keys}


def written(one: EmailFacts | None = None) -> bytes:
    return composer().compose(one or email_facts(), date=NOON).content


def both_hold(content: bytes, signs: Signer) -> bool:
    """Whether both signatures are valid; two verifiers must agree."""
    opinions = [holds(content, RSA.public_key()), holds(content, ED25519.public_key(), number=1)]
    assert second_opinions(content, records(signs)) == opinions
    assert opinions[0] == opinions[1]
    return opinions[0]


def arrived(key_file: str | None, *, body: str = "Why?", **more: object) -> bytes:
    """An email as the relay received it."""
    with ScriptedRelay() as relay:
        (channel,) = wiring.channels(settings(key_file or "", smtp_url=relay.url, **more))

        async def send() -> object:
            outcome = await channel.send(EmailAttempt(facts=email_facts(comment={"body": body})))
            await channel.close()
            return outcome

        assert isinstance(asyncio.run(send()), Sent)
        (received,) = relay.emails
        return received.content


@pytest.mark.parametrize("body", ["Why?", "\n.\n  two  spaces\t\n\n\n", "Größe, 張偉, 😀"])
def test_an_email_arrives_with_a_valid_signature(key_file: str, body: str) -> None:
    content = arrived(key_file, body=body)
    assert (tags(content)["d"], tags(content)["s"]) == ("example.com", "mail")
    assert holds(content, RSA.public_key())
    assert not holds(content, rsa.generate_private_key(65537, 2048).public_key())


def test_an_email_is_signed_with_two_keys_and_each_signature_is_valid_alone(tmp_path: Path, both: Signer) -> None:
    for name, key in (("old", RSA), ("new", ED25519)):
        (tmp_path / name).write_bytes(pem(key))
    content = arrived(f"{tmp_path / 'old'} {tmp_path / 'new'}", dkim_selector="old new")
    assert [tags(content, number=number)["a"] for number in range(2)] == ["rsa-sha256", "ed25519-sha256"]
    assert both_hold(content, both)
    assert second_opinions(content, {name: one for name, one in records(both).items() if "new" in name}) == [
        False,
        True,
    ]
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    assert not holds(content, other, number=1)


def refolded(content: bytes) -> bytes:
    """The header's long fields folded elsewhere, and folded ones on one line."""
    head, blank, body = content.partition(b"\r\n\r\n")
    lines = head.replace(b"\r\n ", b" ").split(b"\r\n")
    lines = [re.sub(rb"(?<=[a-z>]) ", FOLD_WITH_TAB, line) if b"Signature" not in line else line for line in lines]
    return b"\r\n".join(lines) + blank + body


def as_ses_does(content: bytes) -> bytes:
    """With the forwarder's Message-ID and Date."""
    content = re.sub(rb"\r\nMessage-ID: [^\r]*", b"\r\nMessage-ID: <0100@email.amazonses.com>", content)
    return re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate: Mon, 2 Mar 2026 12:00:09 +0000", content)


def requoted(content: bytes) -> bytes:
    """Names without needless quotes, as Gmail writes them, and quoted ones where sendmail wants quotes."""

    def name(found: re.Match[bytes]) -> bytes:
        field, shown, space, address = found.groups()
        said, _ = parseaddr((shown + address).decode())
        plain = b"=?" in shown or not set(said) & set("()<>[]:;@\\,.\"'")
        bare = shown.removeprefix(b'"').removesuffix(b'"')
        return field + b": " + (bare if plain else b'"' + bare + b'"') + space + address

    return re.sub(rb"(?m)^(From|To): ([^<]*?)(\s+)(<[^>]*>)", name, content)


@pytest.mark.parametrize(
    "rewrite",
    [
        refolded,
        as_ses_does,
        requoted,
        lambda content: b"Return-Path: <a@b>\r\nReceived: from here\r\n\tby there; now\r\n" + content,
        lambda content: content.replace(b"\r\nSubject: ", b"\r\nSUBJECT:   "),
        lambda content: content.replace(b"\r\n", b" \r\n").replace(b" \r\n \r\n", b"\r\n\r\n", 1) + b"\r\n\r\n",
        lambda content: content.replace(b"\r\nPrecedence: list", b"\r\nX-Spam: no"),
    ],
    ids=["refolded", "another Message-ID and Date", "requoted", "received", "spelling", "white space", "other fields"],
)
def test_harmless_rewriting_on_the_way_breaks_neither_signature(
    both: Signer, rewrite: Callable[[bytes], bytes]
) -> None:
    content = both(written())
    changed = rewrite(content)
    assert changed != content or rewrite is requoted
    assert both_hold(changed, both)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_written_so_that_known_rewriters_leave_it_alone(both: Signer, name: str) -> None:
    one = email_facts(actor=Person(username="x", display_name=name), recipient=replace(ALICE, display_name=name))
    content = both(written(one))
    assert requoted(content) == content
    assert both_hold(content, both)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace(b"jitter", b"cap"),
        lambda content: content.replace(b"List-Unsubscribe: <https://notify", b"List-Unsubscribe: <https://elsewhere"),
        lambda content: content.replace(b"List-Unsubscribe=One-Click", b"List-Unsubscribe=Never"),
        lambda content: content.replace(b"\r\nFrom: ", b"\r\nFrom: mallory@example.net\r\nFrom: ", 1),
        lambda content: content.replace(b"Dana Reyes via", b"The Board via"),
        lambda content: content.replace(b"CL-4821", b"CL-4822"),
        lambda content: content.replace(b"\r\nTo: Alice Moore", b"\r\nTo: Everybody"),
        lambda content: b"Subject: urgent\r\n" + content,
        lambda content: b"Reply-To: mallory@example.net\r\n" + content,
        lambda content: b"Cc: mallory@example.net\r\n" + content,
        lambda content: b"List-Unsubscribe: <https://elsewhere>\r\n" + content,
        lambda content: b'Content-Type: multipart/alternative; boundary="x"\r\n' + content,
        lambda content: content.replace(b"\r\nReferences: ", b"\r\nReferences: <another@thread> "),
    ],
    ids=[
        "words", "way out", "one click", "second From", "name", "subject", "reader", "second subject", "reply", "copy",
        "second way out", "second boundary", "thread",
    ],
)  # fmt: skip
def test_nothing_that_matters_can_be_changed_on_the_way(both: Signer, change: Callable[[bytes], bytes]) -> None:
    content = both(written())
    changed = change(content)
    assert changed != content
    assert both_hold(content, both)
    assert not both_hold(changed, both)


def test_a_signature_covers_what_one_click_unsubscribe_needs(key_file: str) -> None:
    """Source: RFC 8058 §4."""
    covered = tags(arrived(key_file))["h"].split(":")
    assert {"list-unsubscribe", "list-unsubscribe-post"} <= set(covered)


@given(
    st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"."]), max_size=12).map(
        lambda parts: b"".join((*parts, b"\r\n"))
    )
)
def test_our_body_hash_is_that_of_dkimpy(body: bytes) -> None:
    assert relaxed_body(body) == Relaxed.canonicalize_body(body)


def test_no_line_of_a_signature_exceeds_the_recommended_length(both: Signer) -> None:
    content = both(written())
    signatures = content[: content.index(b"\r\nDate: ")].split(b"\r\n")
    assert max(map(len, signatures)) <= 78


def test_the_signing_domain_may_differ_from_the_senders(key_file: str) -> None:
    assert tags(arrived(key_file, dkim_domain="mail.example.net"))["d"] == "mail.example.net"


def test_without_a_key_emails_are_not_signed() -> None:
    content = arrived(None, dkim_selector=None, dkim_key_file=None)
    assert b"DKIM" not in content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        pem(RSA)[:-80],
        RSA.private_bytes(Encoding.PEM, PKCS8, BestAvailableEncryption(b"nonsense")),
        RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PKCS8, NoEncryption()),
        None,
    ],
    ids=["empty", "nonsense", "cut off", "with a password", "public", "elliptic curve", "absent"],
)
def test_an_unusable_key_stops_the_start_and_names_the_variable(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "dkim.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidSettings, match="NOTIFY_DKIM_KEY_FILE") as refused:
        wiring.channels(settings(str(path), smtp_url="smtp://127.0.0.1:25"))
    assert "nonsense" not in str(refused.value)


@needs_openssl
def test_the_documented_commands_make_keys_and_their_dns_records(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs/operations.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```sh\n(openssl genrsa.*?)```", page, re.DOTALL)
    done = run(["/bin/sh", "-ec", commands], cwd=tmp_path, check=True, capture_output=True, text=True)
    made = signer(domain="x", selectors="a b", key_files=f"{tmp_path / 'rsa.pem'} {tmp_path / 'ed25519.pem'}")
    expected = "".join(key.record.partition("p=")[2] for key in made.keys)
    assert [key.kind for key in made.keys] == re.findall(r"k=(\w+);", commands)
    assert "".join(done.stdout.split()) == expected


@needs_openssl
def test_an_rsa_key_too_short_for_mailboxes_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "short.pem"
    run(["/bin/sh", "-c", f"openssl genrsa -out {path} 768"], check=True, capture_output=True)
    with pytest.raises(InvalidSettings, match="768 bits"):
        wiring.channels(settings(str(path), smtp_url="smtp://127.0.0.1:25"))


@pytest.mark.parametrize(
    "stated",
    [
        {"dkim_key_file": "a.pem"},
        {"dkim_selector": "mail"},
        {"dkim_selector": "mail new", "dkim_key_file": "a.pem"},
        {"dkim_selector": "mail", "dkim_key_file": "a.pem b.pem"},
    ],
    ids=str,
)
def test_a_selector_without_a_key_or_a_key_without_a_selector_is_refused(stated: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match="NOTIFY_DKIM_SELECTOR") as refused:
        refuse_half_configured(Settings(**stated))
    assert "NOTIFY_DKIM_KEY_FILE" in str(refused.value)


@pytest.mark.parametrize("selector", ["mail;d=evil.example", "mäil", "-mail", "mail mail", "mail Mail"])
def test_a_selector_that_is_invalid_in_dns_is_refused(selector: str) -> None:
    with pytest.raises(ValueError, match="selector"):
        settings("a.pem b.pem", dkim_selector=selector)
