"""A signature that receivers believe: it holds, it covers what unsubscribes, and nothing can be added."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from notify import wiring
from notify.domain.errors import InvalidSettings
from notify.domain.outcomes import Sent
from notify.settings import Settings, refuse_half_configured
from tests.support.dkim import holds, tags
from tests.support.letters import letter
from tests.support.smtp import ScriptedRelay

KEY = rsa.generate_private_key(65537, 2048)
PKCS1, PKCS8 = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8


def settings(key_file: Path, **more: object) -> Settings:
    given = {
        "mail_from": "notify@example.com",
        "public_url": "https://notify.example",
        "secret_keys": "s" * 32,
        "dkim_selector": "mail",
        "dkim_key_file": key_file,
    }
    return Settings(**{**given, **more})


@pytest.fixture(params=[PKCS1, PKCS8], ids=["PKCS1", "PKCS8"])
def key_file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "dkim.pem"
    path.write_bytes(KEY.private_bytes(Encoding.PEM, request.param, NoEncryption()))
    return path


def arrived(key_file: Path, *, body: str = "Why?", **more: object) -> bytes:
    """A letter as the relay has it."""
    with ScriptedRelay() as relay:
        (channel,) = wiring.channels(settings(key_file, smtp_url=relay.url, **more))

        async def send() -> object:
            outcome = await channel.send(letter(comment={"body": body}), still_ours=lambda: True)
            await channel.close()
            return outcome

        assert isinstance(asyncio.run(send()), Sent)
        (received,) = relay.letters
        return received.content


@pytest.mark.parametrize("body", ["Why?", "\n.\n  two  spaces\t\n\n\n", "Größe, 張偉, 😀"])
def test_a_letter_arrives_with_a_signature_that_holds(key_file: Path, body: str) -> None:
    content = arrived(key_file, body=body)
    assert (tags(content)["d"], tags(content)["s"]) == ("example.com", "mail")
    assert holds(content, KEY.public_key())
    assert not holds(content, rsa.generate_private_key(65537, 2048).public_key())


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace(b"Why?", b"Who?"),
        lambda content: content.replace(b"List-Unsubscribe: <https://notify", b"List-Unsubscribe: <https://elsewhere"),
        lambda content: content.replace(b"List-Unsubscribe=One-Click", b"List-Unsubscribe=Never"),
        lambda content: content.replace(b"\r\nFrom: ", b"\r\nFrom: mallory@example.net\r\nFrom: ", 1),
        lambda content: content.replace(b"CL-4821", b"CL-4822"),
    ],
    ids=["words", "way out", "one click", "second From", "subject"],
)
def test_nothing_that_matters_can_be_changed_on_the_way(key_file: Path, change: Callable[[bytes], bytes]) -> None:
    content = arrived(key_file)
    changed = change(content)
    assert changed != content
    assert not holds(changed, KEY.public_key())


def test_another_domain_may_sign_than_letters_come_from(key_file: Path) -> None:
    assert tags(arrived(key_file, dkim_domain="mail.example.net"))["d"] == "mail.example.net"


def test_without_a_key_letters_are_not_signed(tmp_path: Path) -> None:
    content = arrived(tmp_path / "nothing", dkim_selector=None, dkim_key_file=None)
    assert b"DKIM" not in content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PKCS8, NoEncryption()),
        None,
    ],
    ids=["empty", "nonsense", "no RSA", "absent"],
)
def test_a_key_that_cannot_sign_stops_the_start_and_names_the_variable(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "dkim.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidSettings, match="NOTIFY_DKIM_KEY_FILE") as refused:
        wiring.channels(settings(path, smtp_url="smtp://127.0.0.1:25"))
    assert "nonsense" not in str(refused.value)


def test_half_a_signature_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="NOTIFY_DKIM_SELECTOR"):
        refuse_half_configured(Settings(dkim_key_file=tmp_path))
