"""Tables that the fleet shares: breakers, rates, sessions, and counts."""

from sqlalchemy import BigInteger, CheckConstraint, Double, Integer, PrimaryKeyConstraint, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from notify.store.tables.schema import INSTANT, metadata, optional, required

smtp_relays = Table(
    "smtp_relays",
    metadata,
    required("relay", Text, "host:port."),
    required("state", Text, "closed: emails flow; open: none is claimed.", default="'closed'"),
    required("failures", Integer, "Relay failures in a row, over all workers.", default="0"),
    required("openings", Integer, "Openings in a row; doubles the wait.", default="0"),
    optional("probe_at", INSTANT, "When one worker may try again; null while closed."),
    optional("reason", Text, "Why it opened: relay, configuration; null while it never did."),
    optional("last_error", Text, "The relay's words at the last failure; never a credential."),
    required("changed_at", INSTANT, "When the state changed last.", default="now()"),
    optional("muted_at", INSTANT, "When somebody muted it: nothing is claimed; null while it is not muted."),
    optional("muted_because", Text, "Why, in their words; null if they gave none."),
    required(
        "suspects",
        ARRAY(Text, as_tuple=True),
        "Digests of the recipients refused for policy since the last success.",
        default="'{}'",
    ),
    PrimaryKeyConstraint("relay"),
    CheckConstraint("state IN ('closed', 'open')", name="state"),
    CheckConstraint("(state = 'open') = (probe_at IS NOT NULL)", name="probed_while_open"),
    CheckConstraint("octet_length(last_error) <= 1024", name="last_error"),
    CheckConstraint("muted_because IS NULL OR muted_at IS NOT NULL", name="explained_while_muted"),
    CheckConstraint("octet_length(muted_because) <= 1024", name="muted_because"),
    comment="Circuit breakers, one for each relay, shared by all workers.",
)

rate_buckets = Table(
    "rate_buckets",
    metadata,
    required("bucket", Text, "relay and its host:port, or domain and its name in NOTIFY_DOMAIN_RATES."),
    required("spent_until", INSTANT, "When it is as if no email had gone.", default="now()"),
    required("queued_until", INSTANT, "When the last email has its turn that was put off.", default="now()"),
    PrimaryKeyConstraint("bucket"),
    CheckConstraint("bucket LIKE 'relay %' OR bucket LIKE 'domain %'", name="bucket"),
    comment="How much of a rate is used up, over all workers.",
)

relay_shares = Table(
    "relay_shares",
    metadata,
    required("relay", Text, "host:port."),
    required("worker", Uuid, "Worker process."),
    required("wanted", Integer, "How many it has a use for."),
    required("sessions", Integer, "How many it may have, 0: it waits for others to give up theirs."),
    required("until", INSTANT, "When they are free again if it asks for no more time."),
    PrimaryKeyConstraint("relay", "worker"),
    CheckConstraint("wanted > 0", name="wanted"),
    CheckConstraint("sessions >= 0", name="sessions"),
    comment="How many of the sessions that all workers may have with a relay each worker process has.",
)

delivery_stats = Table(
    "delivery_stats",
    metadata,
    required("minute", INSTANT, "Start of the minute."),
    required("worker", Uuid, "Worker process."),
    required("event_type", Text, "Event type of the emails."),
    required("outcome", Text, "sent, retry, dead, …, late_success, duplicate_sent, lease_lost, ambiguous, lapse."),
    required("count", Integer, "How many."),
    PrimaryKeyConstraint("minute", "worker", "event_type", "outcome"),
    CheckConstraint("count > 0", name="count"),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1_000, "fillfactor": 70},
    comment="Counts of outcomes, written in the transaction that records them.",
)

delivery_totals = Table(
    "delivery_totals",
    metadata,
    required("event_type", Text, "Event type of the emails."),
    required("outcome", Text, "As in delivery_stats."),
    required("count", BigInteger, "How many; never falls."),
    required("until", INSTANT, "The latest of all rows: the minutes before it are counted here."),
    PrimaryKeyConstraint("event_type", "outcome"),
    CheckConstraint("count > 0", name="count"),
    comment="What delivery_stats has counted since the beginning, but for its last minutes.",
)

process_totals = Table(
    "process_totals",
    metadata,
    required("process", Uuid, "Process that counted; all zeros: all those that are gone."),
    required("measure", Text, "What was counted: doorbell_sent, sweep_found, smtp, to_sent and the like."),
    required("label", Text, "Of which kind: a stage, a phase, the upper bound of a bucket in seconds."),
    required("count", BigInteger, "How many."),
    required("seconds", Double, "How long they took together; 0 where nothing takes time."),
    required("changed_at", INSTANT, "When the process added to it last.", default="now()"),
    PrimaryKeyConstraint("process", "measure", "label"),
    CheckConstraint("count > 0", name="count"),
    CheckConstraint("seconds >= 0", name="seconds"),
    comment="What only a process itself knows, counted since its start.",
)
