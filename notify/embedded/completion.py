"""Fills in settings that nobody set with those of the embedded stack."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr

from notify.embedded.data_folder import secrets
from notify.embedded.ports import LOOPBACK
from notify.settings import Settings

MAIL_FROM = "notify@localhost"
PORTS = ("api_port", "flower_port", "catcher_port", "inbox_port", "forge_port")


def replaced(settings: Settings, **values: object) -> Settings:
    return Settings(**{**settings.model_dump(), **values})


def completed(settings: Settings) -> Settings:
    """The settings with a sender, a public URL, and the secrets of the data folder."""
    # Callers use local names, the host name in links, or the address that the API listens on.
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
    """The settings that are not None, as values of environment variables. Includes secrets."""
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    return {name: as_string(value) for name, value in values.items() if value is not None}


def for_running_stack(settings: Settings, stack: Mapping[str, str]) -> Settings:
    """These settings, with the ports of the running stack, and with its values where nothing is set here."""
    return replaced(
        settings, **{name: value for name, value in stack.items() if name in PORTS or getattr(settings, name) is None}
    )


def as_string(value: object) -> str:
    """The value of an environment variable."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
