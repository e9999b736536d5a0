"""The sizes of a run: large enough to be significant, or small enough to see quickly that it works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """
    Sizes of one run.

    Args:
        emails: In a drain; ``far_emails`` where the relay is 5 ms away.
        repeats: How often a drain and its comparison are measured; the best counts for both.
        outbox_rows: Sizes of the outbox, ascending.
        samples: For a latency.
        pruned_rows: Emails old enough to be deleted.
        statuses: Shown in one run.
        heads: Pushed at once over fifty queues; a fifth of it one after another on each.
        repositories: With twenty open changes each, in ``sweeps`` unchanged sweeps.
        many_emails: In the drain whose memory is compared with that of ``emails``.
    """

    emails: int
    far_emails: int
    repeats: int
    built: int
    events: int
    outbox_rows: tuple[int, ...]
    claims: int
    samples: int
    many_emails: int
    killed_emails: int
    pruned_rows: int
    deliveries: int
    repositories: int
    sweeps: int
    statuses: int
    heads: int


FULL = Scale(
    emails=20_000,
    far_emails=10_000,
    repeats=3,
    built=4_000,
    events=1_000,
    outbox_rows=(10_000, 1_000_000, 5_000_000),
    claims=100,
    samples=200,
    many_emails=100_000,
    killed_emails=6_000,
    pruned_rows=10_000_000,
    deliveries=3_000,
    repositories=1_000,
    sweeps=3,
    statuses=5_000,
    heads=10_000,
)
QUICK = Scale(
    emails=2_000,
    far_emails=1_000,
    repeats=1,
    built=400,
    events=100,
    outbox_rows=(10_000, 100_000),
    claims=30,
    samples=20,
    many_emails=5_000,
    killed_emails=2_000,
    pruned_rows=200_000,
    deliveries=1_000,
    repositories=50,
    sweeps=3,
    statuses=500,
    heads=1_000,
)
