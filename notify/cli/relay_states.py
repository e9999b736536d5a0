"""What is known of each relay: its breaker, its rate and its sessions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from notify import wiring
from notify.channels.email.smtp.relay import Relay
from notify.cli.connect import Deployment
from notify.cli.output import relative
from notify.domain.rates import Bucket, Rate
from notify.domain.stages import DELIVER
from notify.store.operations import rates, relays, shares
from notify.store.operations.relays import BreakerState


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayState:
    """
    A relay and its breaker.

    Attributes:
        priority: From 1; None: it is not configured.
        per_second: None: it has no rate limit.
        next_email_in_seconds: When its rate limit allows the next email; 0: now.
        fleet_sessions: How many sessions all workers may have in total; None: there is no cap.
        sessions: How many of these are in use.
    """

    relay: str
    breaker: BreakerState = field(default_factory=BreakerState)
    priority: int | None = None
    per_second: float | None = None
    next_email_in_seconds: float = 0.0
    fleet_sessions: int | None = None
    sessions: int = 0

    @property
    def limits(self) -> str:
        """Its rate limit and its cap on sessions, for people; empty: it has neither."""
        rate = "" if self.per_second is None else f"{self.per_second:g}/s"
        wait = f"next email in {self.next_email_in_seconds:.1f} s" if self.next_email_in_seconds else ""
        cap = "" if self.fleet_sessions is None else f"{self.sessions} of {self.fleet_sessions} sessions"
        return ", ".join(filter(None, (rate, wait, cap)))

    def as_json(self) -> dict[str, Any]:
        state = asdict(self)
        breaker = {**state.pop("breaker"), "suspects": len(self.breaker.suspects), "is_open": self.breaker.is_open}
        return {**breaker, **state, "in_words": in_words(self.breaker), "pace": self.limits}


def in_words(breaker: BreakerState) -> str:
    """The state of a breaker, for people."""
    if breaker.muted_at is not None:
        because = f": {breaker.muted_because}" if breaker.muted_because else ""
        return f"muted {relative(breaker.muted_at)}{because}"
    if breaker.is_open and breaker.probe_at is not None:
        probe = relative(breaker.probe_at) if breaker.probe_at > datetime.now(UTC) else "due"
        return f"open: {breaker.reason}, next probe {probe}"
    return breaker.state


def relay_states(deployment: Deployment) -> list[RelayState]:
    """The configured relays by priority, then any other that has ever failed or been muted."""
    with deployment.database.begin() as connection:
        breakers, buckets = relays.breakers(connection), rates.buckets(connection)
        sessions = shares.sessions(connection)
    configured = [
        RelayState(
            relay=relay.name,
            breaker=breakers.pop(relay.name, BreakerState()),
            priority=priority,
            per_second=relay.per_second,
            next_email_in_seconds=_next_email_in_seconds(relay, buckets),
            fleet_sessions=relay.fleet_sessions,
            sessions=sessions.get(relay.name, 0),
        )
        for priority, relay in enumerate(wiring.relays(deployment.settings), start=1)
    ]
    return [*configured, *(RelayState(relay=name, breaker=breaker) for name, breaker in breakers.items())]


def close_breaker(deployment: Deployment, relay: str) -> bool:
    """Close the breaker of a relay that has just taken a session, and ring for workers; False if it was not open."""
    with deployment.database.begin() as connection:
        closed = relays.record_probe(connection, relay)
    if closed:
        deployment.doorbell.ring(DELIVER)
    return closed


def _next_email_in_seconds(relay: Relay, buckets: Mapping[str, Bucket]) -> float:
    if relay.per_second is None:
        return 0.0
    return Rate.per_second(relay.per_second).wait(buckets.get(rates.of_relay(relay.name), Bucket()).owed)
