"""The cost of a DKIM signature, compared with dkimpy for the same key and email."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import dkim as dkimpy
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from notify.channels.email.writing.dkim import Signer, signer
from tests.benchmarks.bench import Bench
from tests.benchmarks.measures.builder import per_email
from tests.benchmarks.rows import Row, at_most
from tests.benchmarks.sample_emails import email_to
from tests.support.emails import NOON, composer

EMAILS = 20
DOMAIN, RELAXED = "example.com", (b"relaxed", b"relaxed")


def measure(_: Bench) -> Iterator[Row]:
    """Processor time per email, the best of a few rounds."""
    emails = [composer().compose(email_to(1, reader), date=NOON).content for reader in range(EMAILS)]
    first, second = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
    with TemporaryDirectory(prefix="notify-bench-") as folder:
        paths = [str(_written(Path(folder) / name, key)) for name, key in (("rsa", first), ("ed25519", second))]
        one = signer(domain=DOMAIN, selectors="one", key_files=paths[0])
        both = signer(domain=DOMAIN, selectors="one two", key_files=" ".join(paths))
    key = first.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    theirs = per_email(
        lambda: [dkimpy.DKIM(email).sign(b"one", DOMAIN.encode(), key, canonicalize=RELAXED) for email in emails],
        len(emails),
    )
    for what, signs in (("RSA 2048", one), ("RSA 2048 and Ed25519", both)):
        yield Row(
            what=f"signing one email, {what}",
            unit="µs CPU",
            figure=per_email(partial(_each, signs, emails), len(emails)),
            beside="dkimpy, RSA 2048",
            other=theirs,
            goal=at_most(1 / 5),
        )


def _each(signs: Signer, emails: Sequence[bytes]) -> None:
    for email in emails:
        signs(email)


def _written(path: Path, key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path
