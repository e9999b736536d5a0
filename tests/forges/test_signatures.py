"""Only who knows the webhook's secret gets in. Signed by openssl and by gidgethub, not by us."""

from subprocess import run

import pytest
from gidgethub.sansio import validate_event

from notify.domain.forge_settings import ForgeKind, Secret
from notify.forges.signatures import Signature, verify

BODY = '{"zen": "Mind your words, they are important. – ü"}\n'.encode()
SECRET = "It's a Secret to Everybody"
SECRETS = (Secret("env:NEW", "the next secret, already here"), Secret("env:OLD", SECRET))
GITHUB, GITEA = "x-hub-signature-256", "x-gitea-signature"


def openssl(algorithm: str, secret: str, body: bytes = BODY) -> str:
    command = ["openssl", "dgst", f"-{algorithm}", "-hmac", secret, "-r"]
    return run(command, input=body, capture_output=True, check=True).stdout.split()[0].decode()


SIGNED = openssl("sha256", SECRET)


def test_githubs_own_example_is_valid() -> None:
    """Source: "Validating webhook deliveries" in GitHub's documentation, "Testing the webhook payload validation"."""
    documented = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert verify(ForgeKind.GITHUB, {GITHUB: documented}, b"Hello, World!", SECRETS) is Signature.VALID


@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        (ForgeKind.GITHUB, {GITHUB: f"sha256={SIGNED}"}),
        (ForgeKind.GITEA, {GITEA: SIGNED}),
        (ForgeKind.GITEA, {GITHUB: f"sha256={SIGNED}"}),
        (ForgeKind.GITEA, {GITEA: SIGNED, GITHUB: f"sha256={SIGNED}"}),
        (ForgeKind.GITHUB, {GITHUB: f"sha256={SIGNED.upper()}"}),
    ],
)
def test_a_signature_by_any_of_the_secrets_is_valid(kind: ForgeKind, headers: dict[str, str]) -> None:
    assert verify(kind, headers, BODY, SECRETS) is Signature.VALID
    assert verify(kind, headers, BODY, SECRETS[::-1]) is Signature.VALID


def test_gidgethub_agrees_with_openssl_and_with_us() -> None:
    validate_event(BODY, signature=f"sha256={SIGNED}", secret=SECRET)
    assert verify(ForgeKind.GITHUB, {GITHUB: f"sha256={SIGNED}"}, BODY, SECRETS) is Signature.VALID


WRONG = {
    "over other bytes": (f"sha256={openssl('sha256', SECRET, BODY.strip())}", SECRETS),
    "by a secret of nobody": (f"sha256={openssl('sha256', 'of another forge')}", SECRETS),
    "by the empty secret": (f"sha256={openssl('sha256', '')}", (Secret("env:EMPTY", ""),)),
    "where there is no secret": (f"sha256={SIGNED}", ()),
}


@pytest.mark.parametrize(("signature", "secrets"), WRONG.values(), ids=WRONG)
def test_a_signature_that_fits_no_secret_is_wrong(signature: str, secrets: tuple[Secret, ...]) -> None:
    assert verify(ForgeKind.GITHUB, {GITHUB: signature}, BODY, secrets) is Signature.WRONG


@pytest.mark.parametrize(
    "value",
    [
        "",
        "sha256=",
        SIGNED,
        f"sha1={openssl('sha1', SECRET)}",
        f"sha256={openssl('sha1', SECRET)}",
        f"sha256={SIGNED}0",
        f"sha256={SIGNED[:-1]}",
        f"sha256= {SIGNED}",
        f"SHA256={SIGNED}",
        f"sha256={SIGNED[:-1]}g",
        f"sha256={SIGNED[:-1]}٠",
        f"sha256={SIGNED}, sha256={SIGNED}",
    ],
)
def test_a_signature_of_no_form_is_malformed(value: str) -> None:
    assert verify(ForgeKind.GITHUB, {GITHUB: value}, BODY, SECRETS) is Signature.MALFORMED


def test_sha_1_alone_is_no_signature() -> None:
    headers = {"x-hub-signature": f"sha1={openssl('sha1', SECRET)}"}
    assert verify(ForgeKind.GITHUB, headers, BODY, SECRETS) is Signature.MISSING
    assert verify(ForgeKind.GITEA, headers, BODY, SECRETS) is Signature.MISSING


def test_giteas_header_is_none_of_githubs() -> None:
    assert verify(ForgeKind.GITHUB, {GITEA: SIGNED}, BODY, SECRETS) is Signature.MISSING


def test_an_empty_signature_of_gitea_does_not_fall_back_to_the_other_header() -> None:
    headers = {GITEA: "", GITHUB: f"sha256={SIGNED}"}
    assert verify(ForgeKind.GITEA, headers, BODY, SECRETS) is Signature.MALFORMED
