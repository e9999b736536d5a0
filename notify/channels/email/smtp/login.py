"""
Logs in with a password or an access token, with a single mechanism per connection.

*Decided*: a password is sent with PLAIN if offered, since TLS protects it; a second mechanism after a refusal would
count as a second wrong password. *Rejected*: ``SMTP.login``, which tries each in turn.
"""

from base64 import b64encode

from aiosmtplib import SMTP, SMTPAuthenticationError

from notify.channels.email.smtp.relay import Relay
from notify.domain.errors import RelayUnavailable

PASSWORD_MECHANISMS = ("plain", "login", "cram-md5")
TOKEN_MECHANISMS = ("oauthbearer", "xoauth2")
CONTINUE, AGREED = 334, 235
# Ends the exchange after the relay gave its error in a challenge (RFC 7628 §3.2.3, and Google's documentation).
GIVEN_UP = {"oauthbearer": b"AQ==", "xoauth2": b""}


class NoMechanism(RelayUnavailable):
    """The relay offers no login mechanism that fits the settings."""

    def __init__(self, *, offered: list[str], takes_tokens: bool) -> None:
        super().__init__()
        self.words = f"the relay offers {_listed(offered) or 'no AUTH'}; "
        if takes_tokens:
            self.words += f"an access token needs {_listed(TOKEN_MECHANISMS)}"
        elif set(offered) & set(TOKEN_MECHANISMS):
            self.words += "it accepts access tokens but no password"
        else:
            self.words += f"a password needs {_listed(PASSWORD_MECHANISMS)}"


async def log_in(client: SMTP, relay: Relay, token: str | None) -> None:
    """
    Authenticate with the token, or with the password if there is no token.

    Raises:
        NoMechanism: The relay offers no suitable mechanism.
        SMTPAuthenticationError: The relay refused.
    """
    offered, user, password = client.server_auth_methods, relay.username or "", relay.password or ""
    fitting = PASSWORD_MECHANISMS if token is None else TOKEN_MECHANISMS
    mechanism = next((one for one in fitting if one in offered), None)
    match mechanism:
        case None:
            raise NoMechanism(offered=offered, takes_tokens=token is not None)
        case "plain":
            await client.auth_plain(user, password)
        case "login":
            await client.auth_login(user, password)
        case "cram-md5":
            await client.auth_crammd5(user, password)
        case _:
            await _present(client, mechanism, _responses(relay, token or "")[mechanism])


def secrets(relay: Relay, token: str | None) -> tuple[str, ...]:
    """Every form in which the credentials are sent; none of them may be stored or logged."""
    if token is not None:
        return (token, *_responses(relay, token).values())
    if relay.username is None or relay.password is None:
        return ()
    return (relay.password, *map(_base64, (relay.password, f"\0{relay.username}\0{relay.password}")))


async def _present(client: SMTP, mechanism: str, response: str) -> None:
    reply = await client.execute_command(b"AUTH", mechanism.upper().encode("ascii"), response.encode("ascii"))
    if reply.code == CONTINUE:
        reply = await client.execute_command(GIVEN_UP[mechanism])
    if reply.code != AGREED:
        raise SMTPAuthenticationError(reply.code, reply.message)


def _responses(relay: Relay, token: str) -> dict[str, str]:
    """
    The initial response with the token, by mechanism.

    Source: RFC 7628 §3.1, with the user name escaped as in RFC 5801 §4; Google's and Microsoft's XOAUTH2.
    """
    user = relay.username or ""
    escaped = user.replace("=", "=3D").replace(",", "=2C")
    bearer = f"auth=Bearer {token}\x01\x01"
    plain = {
        "oauthbearer": f"n,a={escaped},\x01host={relay.host}\x01port={relay.port}\x01{bearer}",
        "xoauth2": f"user={user}\x01{bearer}",
    }
    return {name: _base64(words) for name, words in plain.items()}


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode("ascii")


def _listed(mechanisms: list[str] | tuple[str, ...]) -> str:
    return " or ".join(f"AUTH {one.upper()}" for one in mechanisms)
