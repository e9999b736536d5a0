"""Domains in ASCII: by IDNA 2008, idempotent, and refusing everything that cannot be in DNS."""

import idna
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notify.dns_names import NotADomain, ascii_domain, is_full_name, of_address


@pytest.mark.parametrize(
    ("domain", "spelled"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.com", "EXAMPLE.com"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER。example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("नमस्ते.भारत", "xn--h2bhs4b8d8a.xn--h2brj9c"),
    ],
)
def test_a_domain_has_the_spelling_of_its_registry(domain: str, spelled: str) -> None:
    assert ascii_domain(domain) == spelled


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "exa mple.com",
        "bü cher.example",
        "bücher..example",
        "bücher.example.",
        "example.com.",
        "bücher_x.example",
        "☃.example",
        "😀.example",
        "a\u200db.example",
        "bücher@example",
        "ü" * 60 + ".example",
        "ü" * 200_000,
        "a" * 64 + ".example",
        ".".join(["a" * 60] * 5),
        "[192.0.2.1",
    ],
)
def test_a_domain_that_dns_cannot_have_is_refused(nonsense: str) -> None:
    with pytest.raises(NotADomain):
        ascii_domain(nonsense)


@given(st.text(max_size=80))
@example("ＥＸＡＭＰＬＥ．com")
@example("faß.de")
def test_an_accepted_domain_is_ascii_and_converts_to_itself(text: str) -> None:
    try:
        spelled = ascii_domain(text)
    except NotADomain:
        return
    assert spelled.isascii()
    assert ascii_domain(spelled) == spelled
    if not text.isascii():
        assert idna.decode(spelled) == idna.uts46_remap(text, std3_rules=False)


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("ann@Example.COM", "example.com"),
        ("ann@bücher.example", "xn--bcher-kva.example"),
        ("ann@XN--bcher-kva.example", "xn--bcher-kva.example"),
        ("ann@☃.example", "☃.example"),
        ("ann", "ann"),
    ],
)
def test_a_domain_is_the_same_however_an_address_spells_it(address: str, domain: str) -> None:
    assert of_address(address) == domain


@pytest.mark.parametrize(
    ("host", "full"),
    [
        ("notify.example.com", True),
        ("xn--bcher-kva.example", True),
        ("localhost", False),
        ("notify.localhost", False),
        ("notify", False),
        ("10.0.0.5", False),
        ("::1", False),
        ("[192.0.2.1]", False),
        ("mail_catcher.internal", False),
        ("notify.example.com.", False),
        ("", False),
    ],
)
def test_only_a_globally_unambiguous_name_is_fully_qualified(host: str, *, full: bool) -> None:
    assert is_full_name(host) == full
