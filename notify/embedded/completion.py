"""Settings made complete: what nobody set is what the embedded stack has."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr

from notify.embedded.data_folder import secrets
from notify.embedded.ports import LOOPBACK
from notify.settings import Settings

MAIL_FROM = "notify@localhost"
PORTS = ("api_port", "flower_port", "catcher_port", "inbox_port")


def replaced(settings: Settings, **values: object) -> Settings:
    return Settings(**{**settings.model_dump(), **values})


def completed(settings: Settings) -> Settings:
    """The settings with a sender, an address for links, and the secrets of the data folder."""
    # The API of one machine is called by local names, by the one in links, and by the one that it listens on.
    linked = urlsplit(settings.public_url or "").hostname or "localhost"
    defaults = {
        **secrets(settings.data_dir),
        "mail_from": MAIL_FROM,
        "public_url": f"http://{LOOPBACK}:{settings.api_port}",
        "api_hosts": f"{linked} {settings.api_host}",
    }
    if settings.jwks_url:
        del defaults["jwt_secret"]
    return replaced(settings, **{name: value for name, value in defaults.items() if getattr(settings, name) is None})


def as_text(settings: Settings) -> dict[str, str]:
    """What is not None, as its environment variables hold it, secrets included."""
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    return {name: plain(value) for name, value in values.items() if value is not None}


def joined(settings: Settings, stack: Mapping[str, str]) -> Settings:
    """The settings of a command that works on a stack: its ports, and whatever else nobody set here."""
    return replaced(
        settings, **{name: value for name, value in stack.items() if name in PORTS or getattr(settings, name) is None}
    )


def plain(value: object) -> str:
    """A setting as its environment variable holds it."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
