"""Webhooks: whether each endpoint can be called and is, and whether calls are dead."""

from collections.abc import Iterator

from notify.cli.checks import Finding
from notify.cli.connect import Deployment
from notify.cli.output import relative
from notify.domain.webhook_signatures import StoredSecret, is_derivable
from notify.domain.webhooks import CallStatus
from notify.settings import Settings
from notify.store.webhooks import endpoints, listing
from notify.store.webhooks.endpoints import BY_HAND, WebhookEndpoint
from notify.store.webhooks.listing import CallFilter

NAMED = 3
WHY = "It is not told of outcomes."


def webhooks(deployment: Deployment) -> Iterator[Finding]:
    """Findings about webhook endpoints; none if there is none. No endpoint is called."""
    settings = deployment.settings
    with deployment.database.begin() as connection:
        found, secrets = endpoints.listed(connection), endpoints.stored_secrets(connection)
        dead = listing.newest(connection, CallFilter(status=CallStatus.DEAD), limit=NAMED + 1)
    if not found:
        return
    for one in found:
        faults = list(_faults(one, secrets[one.name], settings))
        yield from faults or [Finding(f"webhook {one.name}", True, _words(one), WHY, "")]
    named = ", ".join(f"{one.id} to {one.endpoint} ({one.outcome_reason})" for one in dead[:NAMED])
    words = f"dead: {named}{' and more' if len(dead) > NAMED else ''}" if dead else "none is dead"
    why, fix = "Their endpoints are not told of these outcomes.", "notify webhooks calls NAME --status dead;"
    yield Finding("webhook calls", not dead, words, why, f"{fix} then notify webhooks retry --endpoint NAME")


def _faults(one: WebhookEndpoint, secret: str, settings: Settings) -> Iterator[Finding]:
    about = f"webhook {one.name}"
    if one.disabled_because is not None:
        if one.disabled_because != BY_HAND:
            fix = f"correct its URL: notify webhooks change {one.name} --enable --url URL; or remove it"
            yield Finding(about, False, f"disabled: {one.disabled_because}, it has answered 410", WHY, fix)
        return
    if not is_derivable(StoredSecret.parse(secret), settings.signing_keys):
        fix = f"put the key back into NOTIFY_SECRET_KEYS; or notify webhooks rotate {one.name}"
        yield Finding(about, False, "the key of its secret is not in NOTIFY_SECRET_KEYS", WHY, fix)
    if one.failing is not None and one.next_call_at is not None:
        words = f"failing, tried again {relative(one.next_call_at)}: {one.failing}"
        yield Finding(about, False, words, WHY, f"repair it; then notify webhooks test {one.name}")
    if one.url.startswith("http:") and not settings.private_networks:
        fix = f"notify webhooks change {one.name} --url https://…; or set NOTIFY_WEBHOOK_NETWORKS"
        yield Finding(about, False, "its URL is not https, and no private network is configured", WHY, fix)


def _words(one: WebhookEndpoint) -> str:
    return "disabled by hand" if one.disabled_because else f"called at {one.url.split('?')[0]}"
