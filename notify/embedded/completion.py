"""Settings made complete: what nobody set is what the embedded stack has."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr

from notify.embedded.ports import LOOPBACK
from notify.embedded.private import keys
from notify.settings import Settings

MAIL_FROM = "notify@localhost"
PORTS = ("api_port", "flower_port", "catcher_port", "inbox_port")
COMPLETED = ("database_url", "broker_url", "smtp_url", "mail_from", "public_url", "secret_keys", "jwt_secret")


def replaced(settings: Settings, **values: object) -> Settings:
    return Settings(**{**settings.model_dump(), **values})


def completed(settings: Settings) -> Settings:
    """The settings with an address for links and for letters, and the secrets of their data folder."""
    # The API of one machine is called by local names, by the one in links, and by the one that it listens on.
    linked = urlsplit(settings.public_url or "").hostname or "localhost"
    usual = {
        **keys(settings.data_dir),
        "mail_from": MAIL_FROM,
        "public_url": f"http://{LOOPBACK}:{settings.api_port}",
        "api_hosts": f"{linked} {settings.api_host}",
    }
    if settings.jwks_url:
        del usual["jwt_secret"]
    return replaced(settings, **{name: value for name, value in usual.items() if getattr(settings, name) is None})


def told(settings: Settings) -> dict[str, str]:
    """What one process tells another, in plain words: ports and what was completed. It holds secrets."""
    values = {name: getattr(settings, name) for name in (*COMPLETED, *PORTS)}
    return {name: plain(value) for name, value in values.items() if value is not None}


def taken_over(settings: Settings, facts: Mapping[str, str]) -> Settings:
    """The settings with the ports that were told, and completed by what was."""
    return replaced(
        settings, **{name: value for name, value in facts.items() if name in PORTS or getattr(settings, name) is None}
    )


def plain(value: object) -> str:
    """A setting as its environment variable holds it."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
