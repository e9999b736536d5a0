"""A relay's URL: what it may contain; what is invalid or would reveal a password stops the start."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.channels.email.smtp.connect import tls_context
from notify.channels.email.smtp.login import secrets
from notify.channels.email.smtp.oauth import ClientCredentials, TokenCommand
from notify.channels.email.smtp.relay import FALLBACKS, Encryption, Relay, parse_relays
from notify.domain.errors import InvalidSettings
from tests.support.smtp import Authority


@pytest.mark.parametrize(
    ("url", "name", "encryption"),
    [
        ("smtp://mail.example.com", "mail.example.com:587", Encryption.STARTTLS),
        ("smtp://mail.example.com:2525/", "mail.example.com:2525", Encryption.STARTTLS),
        ("smtp://mail.example.com?starttls=never", "mail.example.com:587", Encryption.PLAIN),
        ("smtps://mail.example.com", "mail.example.com:465", Encryption.IMPLICIT_TLS),
        ("smtps://mail.example.com:4465", "mail.example.com:4465", Encryption.IMPLICIT_TLS),
        ("smtp://localhost:1025", "localhost:1025", Encryption.PLAIN),
        ("smtp://127.0.0.53:25", "127.0.0.53:25", Encryption.PLAIN),
        ("smtp://[::1]:25", "[::1]:25", Encryption.PLAIN),
        ("smtp://127.0.0.1?starttls=required", "127.0.0.1:587", Encryption.STARTTLS),
        ("smtp://localhost.example.com", "localhost.example.com:587", Encryption.STARTTLS),
        ("smtp://10.0.0.1", "10.0.0.1:587", Encryption.STARTTLS),
        ("smtp://localhost.:1025", "localhost:1025", Encryption.PLAIN),
        ("smtp://LOCALHOST.", "localhost:587", Encryption.PLAIN),
        ("smtp://127.0.0.1.:25", "127.0.0.1:25", Encryption.PLAIN),
        ("smtp://mail.example.com.", "mail.example.com:587", Encryption.STARTTLS),
        ("smtps://bücher.example.", "xn--bcher-kva.example:465", Encryption.IMPLICIT_TLS),
        ("smtp://mail_catcher:1025", "mail_catcher:1025", Encryption.STARTTLS),
    ],
)
def test_the_connection_is_encrypted_unless_it_stays_on_the_machine(
    url: str, name: str, encryption: Encryption
) -> None:
    relay = Relay.from_url(url)
    assert (relay.name, relay.encryption, relay.username) == (name, encryption, None)


@pytest.mark.parametrize(
    ("url", "lookup"),
    [
        ("smtp://mail.example.com.", "mail.example.com."),
        ("smtp://bücher.example.:25", "xn--bcher-kva.example."),
        ("smtp://mail.example.com", "mail.example.com"),
        ("smtp://localhost.", "localhost"),
        ("smtp://10.0.0.1.", "10.0.0.1"),
    ],
)
def test_a_final_dot_disables_search_domains_and_is_not_part_of_the_name(url: str, lookup: str) -> None:
    assert Relay.from_url(url).lookup == lookup


@given(user=st.text(min_size=1, max_size=20), password=st.text(min_size=1, max_size=20))
def test_credentials_may_be_percent_encoded(user: str, password: str) -> None:
    relay = Relay.from_url(f"smtp://{quote(user, safe='')}:{quote(password, safe='')}@mail.example.com")
    assert (relay.username, relay.password) == (user, password)


@pytest.mark.parametrize(
    "url",
    [
        "smtp://ann:s3cret@127.0.0.1",
        "smtp://ann:s3cret@mail.example.com?starttls=never",
        "smtp://ann:s3cret@mail.example.com?starttls=maybe",
        "smtp://ann:s3cret@mail.example.com?verify=no",
        "smtp://ann:s3cret@mail.example.com?starttls",
        "smtp://ann:s3cret@mail.example.com?starttls=required&starttls=required",
        "smtp://ann:s3cret@mail.example.com?sessions=0",
        "smtp://ann:s3cret@mail.example.com?fleet_sessions=0",
        "smtp://ann:s3cret@mail.example.com?fleet_sessions=65537",
        "smtp://ann:s3cret@mail.example.com?sessions=\u0663",
        "smtp://ann:s3cret@mail.example.com?sessions=257",
        "smtp://ann:s3cret@mail.example.com?sessions=-1",
        "smtp://ann:s3cret@mail.example.com?sessions=four",
        "smtp://ann:s3cret@mail.example.com?sessions=",
        "smtp://ann:s3cret@mail.example.com?per_second=0",
        "smtp://ann:s3cret@mail.example.com?per_second=-1",
        "smtp://ann:s3cret@mail.example.com?per_second=nan",
        "smtp://ann:s3cret@mail.example.com?per_second=10001",
        "smtps://ann:s3cret@mail.example.com?starttls=never",
        "smtp://ann:s3cret@mail.example.com:99999",
        "smtp://ann:s3cret@mail.example.com:0",
        "smtp://ann:s3cret@mail.example.com:port",
        "smtp://ann:s3cret@mail.example.com/path",
        "smtp://ann:s3#cret@mail.example.com",
        "smtp://ann:s3/cret@mail.example.com",
        "smtp://ann:s3?cret@mail.example.com",
        "smtp://ann:25?s3cret@mail.example.com",
        "smtp://ann:s3cret@[::1",
        "smtp://ann:s3cret@" + "a" * 64 + ".example",
        "http://ann:s3cret@mail.example.com",
        "ann:s3cret@mail.example.com",
        "smtp://ann@mail.example.com",
        "smtp://:s3cret@mail.example.com",
        "smtp://",
        "smtp://.",
        "smtp://ann:s3cret@mail.example.com?ca=",
        "smtp://mail.example.com?starttls=never&ca=/s3/ca.pem",
        "smtp://ann@mail.example.com?client_id=s3&client_secret_file=/s3",
        "smtp://ann@mail.example.com?token_url=https://login.example/s3",
        "smtp://ann@mail.example.com?token_url=https://login.example/s3&client_id=&client_secret_file=/s3",
        "smtp://ann@mail.example.com?token_url=http://login.example/s3&client_id=s3&client_secret_file=/s3",
        "smtp://ann@mail.example.com?token_url=ftp://login.example/s3&client_id=s3&client_secret_file=/s3",
        "smtp://ann@mail.example.com?token_url=https:///s3&client_id=s3&client_secret_file=/s3",
        "smtp://ann@mail.example.com?token_url=https://[::1/s3&client_id=s3&client_secret_file=/s3",
        "smtp://ann@mail.example.com?scope=s3",
        "smtp://ann@mail.example.com?token_command=",
        "smtp://ann@mail.example.com?token_command='s3",
        "smtp://ann@mail.example.com?token_command=s3&client_id=s3",
        "smtp://mail.example.com?token_command=s3",
        "smtp://ann:s3cret@mail.example.com?token_command=s3",
        "smtp://ann@127.0.0.1?token_command=s3",
        "smtp://ann:s3cret@☃.example",
        "smtp://ann:s3cret@mail..example.com",
        "mail.example.com",
        "",
    ],
)
def test_an_invalid_url_is_refused_without_revealing_its_password(url: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        Relay.from_url(url)
    said = str(refused.value)
    assert "NOTIFY_SMTP_URL" in said
    assert "s3" not in said
    assert "cret" not in said.replace("secret", "")


def test_missing_token_settings_are_named() -> None:
    with pytest.raises(InvalidSettings, match="it has client_id and lacks token_url, client_secret_file"):
        Relay.from_url("smtp://ann@mail.example.com?client_id=4711")


def test_each_relay_has_its_own_token_source() -> None:
    asking = "token_url=https://login.example/t&client_id=4711&client_secret_file=/run/secret&scope=https://o.example/.default"
    first, second, third = parse_relays(
        f"smtp://notify%40example.com@a.example?{asking}&ca=/etc/a.pem",
        "smtp://ann@b.example?token_command=print-token+--for+%27two+words%27 smtp://ann:s3cret@c.example",
    )
    assert first.tokens == ClientCredentials(
        token_url="https://login.example/t",
        client_id="4711",
        client_secret_file=Path("/run/secret"),
        scope="https://o.example/.default",
    )
    assert (first.username, first.password, first.ca) == ("notify@example.com", None, Path("/etc/a.pem"))
    assert second.tokens == TokenCommand(("print-token", "--for", "two words"))
    assert (third.tokens, third.ca) == (None, None)


def test_a_relay_is_printed_without_its_password() -> None:
    relay = Relay.from_url("smtps://ann:s3cret@mail.example.com")
    assert "s3cret" not in f"{relay} {relay!r} {relay.name}"
    assert "s3cret" in secrets(relay, None)


@pytest.mark.parametrize(
    ("url", "encryption", "sessions", "per_second"),
    [
        ("smtp://mail.example.com?sessions=4", Encryption.STARTTLS, 4, None),
        ("smtp://mail.example.com?starttls=never&sessions=256&per_second=14", Encryption.PLAIN, 256, 14),
        ("smtps://mail.example.com?sessions=1&per_second=0.5", Encryption.IMPLICIT_TLS, 1, 0.5),
        ("smtps://mail.example.com", Encryption.IMPLICIT_TLS, None, None),
    ],
)
def test_each_relay_has_its_own_encryption_sessions_and_rate(
    url: str, encryption: Encryption, sessions: int | None, per_second: float | None
) -> None:
    relay = Relay.from_url(url)
    assert (relay.encryption, relay.sessions, relay.per_second) == (encryption, sessions, per_second)
    assert relay.fleet_sessions is None


def test_a_relay_may_have_a_cap_over_all_workers() -> None:
    relay = Relay.from_url("smtp://mail.example.com?fleet_sessions=3")
    assert (relay.fleet_sessions, relay.sessions) == (3, None)


def test_relays_keep_the_order_of_the_settings() -> None:
    found = parse_relays("smtp://a.example", " smtps://ann:s3cret@b.example?sessions=2\n\tsmtp://c.example:25 ")
    assert [one.name for one in found] == ["a.example:587", "b.example:465", "c.example:25"]
    assert [one.sessions for one in found] == [None, 2, None]
    assert len(parse_relays("smtp://a.example", "")) == 1


def test_of_several_relays_the_one_with_an_invalid_url_is_named_without_any_password() -> None:
    with pytest.raises(InvalidSettings, match=f"{FALLBACKS}, URL 2,") as refused:
        parse_relays(
            "smtp://ann:s3cret@a.example", "smtp://ann:s3cret@b.example smtp://ann:s3cret@c.example?sessions=no"
        )
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "again", ["smtp://b.example", "smtp://a.example:587", "smtp://ann:s3cret@a.example", "smtp://a.example."]
)
def test_a_relay_named_twice_is_refused_because_it_has_one_breaker(again: str) -> None:
    with pytest.raises(InvalidSettings, match=FALLBACKS) as refused:
        parse_relays("smtp://a.example", f"smtp://b.example {again}")
    assert "s3cret" not in str(refused.value)


def test_certificate_authorities_are_loaded_only_for_relays_with_tls(tmp_path: Path) -> None:
    authority = Authority.made(tmp_path)
    plain, guarded = parse_relays(
        "smtp://127.0.0.1:25", f"smtp://mail.example.com?starttls=required&ca={authority.file}"
    )
    assert tls_context(plain).get_ca_certs() == []
    assert len(tls_context(guarded).get_ca_certs()) == 1
