"""Tables that all workers share: breakers, rates, relay sessions and counts."""

from sqlalchemy import BigInteger, CheckConstraint, Double, Integer, PrimaryKeyConstraint, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from notify.store.tables.schema import INSTANT, metadata, optional, required

endpoints = Table(
    "endpoints",
    metadata,
    required("endpoint", Text, "host:port of a relay, or forge or webhook and its name."),
    required("state", Text, "closed: it is used; open: nothing is claimed for it.", default="'closed'"),
    required("failures", Integer, "Failures in a row, counted across all workers.", default="0"),
    required("openings", Integer, "Openings without a success in between; each doubles the wait.", default="0"),
    optional("probe_at", INSTANT, "When one worker may probe it; null while closed."),
    optional(
        "reason", Text, "What was blamed, such as relay, configuration or throttle, then why; null: it never failed."
    ),
    optional("last_error", Text, "The answer to the last failure; never contains a credential."),
    required("changed_at", INSTANT, "When the state last changed.", default="now()"),
    optional("muted_at", INSTANT, "When an operator muted it: nothing is claimed; null: not muted."),
    optional("muted_because", Text, "The operator's reason; null: none was given."),
    required(
        "suspects",
        ARRAY(Text, as_tuple=True),
        "Hashes of recipients refused for policy since the last success.",
        default="'{}'",
    ),
    PrimaryKeyConstraint("endpoint"),
    CheckConstraint("state IN ('closed', 'open')", name="state"),
    CheckConstraint("(state = 'open') = (probe_at IS NOT NULL)", name="probed_while_open"),
    CheckConstraint("octet_length(last_error) <= 1024", name="last_error"),
    CheckConstraint("muted_because IS NULL OR muted_at IS NOT NULL", name="explained_while_muted"),
    CheckConstraint("octet_length(muted_because) <= 1024", name="muted_because"),
    comment="One circuit breaker per relay, forge or webhook endpoint, shared by all workers.",
)

rate_buckets = Table(
    "rate_buckets",
    metadata,
    required("bucket", Text, "'relay HOST:PORT', or 'domain NAME' with a name from NOTIFY_DOMAIN_RATES."),
    required("spent_until", INSTANT, "When the bucket is full again.", default="now()"),
    required("queued_until", INSTANT, "When the last of the postponed emails is due.", default="now()"),
    PrimaryKeyConstraint("bucket"),
    CheckConstraint("bucket LIKE 'relay %' OR bucket LIKE 'domain %'", name="bucket"),
    comment="One token bucket per limited relay or domain, shared by all workers.",
)

relay_shares = Table(
    "relay_shares",
    metadata,
    required("relay", Text, "host:port."),
    required("worker", Uuid, "Worker process."),
    required("wanted", Integer, "How many sessions it could use."),
    required("sessions", Integer, "How many sessions it may open; 0: it waits for other workers to give up theirs."),
    required("until", INSTANT, "When the share ends unless it is renewed."),
    PrimaryKeyConstraint("relay", "worker"),
    CheckConstraint("wanted > 0", name="wanted"),
    CheckConstraint("sessions >= 0", name="sessions"),
    comment="How the sessions that all workers together may open with a relay are shared among worker processes.",
)

delivery_stats = Table(
    "delivery_stats",
    metadata,
    required("minute", INSTANT, "The minute, by its start."),
    required("worker", Uuid, "Worker process."),
    required("event_type", Text, "Event type of the emails."),
    required("outcome", Text, "sent, retry, dead, …, late_success, duplicate_sent, lease_lost, ambiguous, lapse."),
    required("count", Integer, "How many."),
    PrimaryKeyConstraint("minute", "worker", "event_type", "outcome"),
    CheckConstraint("count > 0", name="count"),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1_000, "fillfactor": 70},
    comment="Outcomes per minute and worker, counted in the transaction that records them.",
)

delivery_totals = Table(
    "delivery_totals",
    metadata,
    required("event_type", Text, "Event type of the emails."),
    required("outcome", Text, "As in delivery_stats."),
    required("count", BigInteger, "How many; never decreases."),
    required("until", INSTANT, "The maximum over all rows says how far delivery_stats is included here."),
    PrimaryKeyConstraint("event_type", "outcome"),
    CheckConstraint("count > 0", name="count"),
    comment="Running totals of delivery_stats, except for its most recent minutes.",
)

process_totals = Table(
    "process_totals",
    metadata,
    required("process", Uuid, "The process; all zeros: the sum of all processes that are gone."),
    required("measure", Text, "What is counted, such as doorbell_sent, sweep_found, smtp or to_sent."),
    required(
        "label",
        Text,
        "A stage, an SMTP phase, a histogram bucket's upper bound in seconds, or what else the measure counts by.",
    ),
    required("count", BigInteger, "How many."),
    required("seconds", Double, "Total duration; 0 where the measure has none."),
    required("changed_at", INSTANT, "When the process last added to it.", default="now()"),
    PrimaryKeyConstraint("process", "measure", "label"),
    CheckConstraint("count > 0", name="count"),
    CheckConstraint("seconds >= 0", name="seconds"),
    comment="Counters of each process that no other table has, such as doorbells and SMTP times.",
)
