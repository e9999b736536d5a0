"""Settings made complete: what nobody set is what the embedded stack has."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from notify.embedded.keys import keys
from notify.embedded.ports import LOOPBACK
from notify.settings import Settings

MAIL_FROM = "notify@localhost"
PORTS = ("api_port", "flower_port", "catcher_port", "inbox_port")
COMPLETED = ("database_url", "broker_url", "smtp_url", "mail_from", "public_url", "secret_keys", "jwt_secret")


def replaced(settings: Settings, **values: object) -> Settings:
    """The settings with these values, checked like any."""
    return Settings(**{**settings.model_dump(), **values})


def completed(settings: Settings) -> Settings:
    """The settings with an address for links and for letters, and the secrets of their data folder."""
    made = keys(settings.data_dir)
    people = {} if settings.jwks_url else {"jwt_secret": made.jwt_secret}
    usual = {
        "mail_from": MAIL_FROM,
        "public_url": f"http://{LOOPBACK}:{settings.api_port}",
        "api_hosts": _names_of_the_api(settings),
        "secret_keys": made.secret_keys,
        **people,
    }
    return replaced(settings, **{name: value for name, value in usual.items() if getattr(settings, name) is None})


def _names_of_the_api(settings: Settings) -> str:
    """The API of one machine is called by local names, by the one in links, and by the one that it listens on."""
    linked = urlsplit(settings.public_url or "").hostname
    return " ".join(sorted({linked or "localhost", settings.api_host}))


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


def absolute(settings: Settings) -> Settings:
    """The settings with a data folder that is the same from every working folder."""
    return replaced(settings, data_dir=Path(settings.data_dir).resolve())
