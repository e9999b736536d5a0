"""Tables of queues: their requests, builds and facts."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Double,
    Identity,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from notify.store.tables.schema import INSTANT, index, metadata, optional, required

queues = Table(
    "queues",
    metadata,
    required("name", Text, "Name of the queue in NOTIFY_FORGES_FILE."),
    optional("last_green_uri", Text, "Newest head that was found green; null: none was."),
    optional("last_green_request_id", BigInteger, "The request that found it; null with the URI."),
    required(
        "in_flight", ARRAY(BigInteger, as_tuple=True), "Numbers of the requests that have a slot.", default="'{}'"
    ),
    required("in_flight_count", Integer, "How many they are.", default="0"),
    required("latest_request_id", BigInteger, "Number of the newest request; 0: there is none.", default="0"),
    required("version", Integer, "Rises at every write; writers compare it."),
    PrimaryKeyConstraint("name"),
    CheckConstraint("(last_green_uri IS NULL) = (last_green_request_id IS NULL)", name="last_green"),
    CheckConstraint("in_flight_count = cardinality(in_flight)", name="in_flight"),
    CheckConstraint("last_green_request_id <= latest_request_id", name="latest"),
    comment="Queues whose heads are validated.",
)

requests = Table(
    "requests",
    metadata,
    required("queue", Text, "Name of the queue."),
    required("id", BigInteger, "Number of the request, from 1 in each queue."),
    required("item_id", BigInteger, "Id of its work item; rises with time.", Identity(always=True)),
    required("uri", Text, "The head to be validated."),
    required("state", Text, "accepted, processing, superseded, succeeded, failed or cancelled.", default="'accepted'"),
    optional("build_strategy", Text, "full or incremental; null: not decided yet."),
    optional("base_uri", Text, "The green head that an incremental build starts from; null: none."),
    required("forced", Boolean, "Failed because it could not be validated.", default="false"),
    required("version", Integer, "Rises at every write; writers compare it."),
    required("created_at", INSTANT, "When the head was taken in, or when its retry was asked for.", default="now()"),
    optional("finished_at", INSTANT, "When it reached its final state; null before."),
    PrimaryKeyConstraint("queue", "id"),
    UniqueConstraint("item_id"),
    CheckConstraint("id > 0", name="id"),
    CheckConstraint(
        "state IN ('accepted', 'processing', 'superseded', 'succeeded', 'failed', 'cancelled')", name="state"
    ),
    CheckConstraint("(finished_at IS NULL) = (state IN ('accepted', 'processing'))", name="finished_when_final"),
    CheckConstraint("state = 'failed' OR NOT forced", name="forced"),
    CheckConstraint("build_strategy IN ('full', 'incremental')", name="build_strategy"),
    CheckConstraint("(base_uri IS NOT NULL) = (build_strategy IS NOT DISTINCT FROM 'incremental')", name="base"),
    index("requests_unfinished", "queue, id", "Who waits for a slot.", where="finished_at IS NULL"),
    comment="Requests: one validation of one queue at one commit.",
)

request_uris = Table(
    "request_uris",
    metadata,
    required("queue", Text, "Name of the queue."),
    required("uri", Text, "A head."),
    required("request_id", BigInteger, "Number of the request that validates it."),
    PrimaryKeyConstraint("queue", "uri"),
    comment="Which request has a head: one each.",
)

builds = Table(
    "builds",
    metadata,
    required("queue", Text, "Name of the queue."),
    required("id", Text, "The runner's name for it."),
    required("request_id", BigInteger, "Number of the request that it validates."),
    required(
        "status",
        Text,
        "running, success, failure, timed_out, skipped, cancelled or unexpected_error.",
        default="'running'",
    ),
    optional("url", Text, "Its page; null: it has none."),
    required("projects", JSONB, "How broken each project is, by name, as the runner said.", default="'{}'"),
    required("version", Integer, "Rises at every write; writers compare it."),
    PrimaryKeyConstraint("queue", "id"),
    UniqueConstraint("queue", "request_id"),
    CheckConstraint(
        "status IN ('running', 'success', 'failure', 'timed_out', 'skipped', 'cancelled', 'unexpected_error')",
        name="status",
    ),
    comment="Builds of requests, one each.",
)

facts = Table(
    "facts",
    metadata,
    required("queue", Text, "Name of the queue."),
    required("uri", Text, "A head."),
    required("project", Text, "Project; empty: the whole repository."),
    required("degree", Double, "How broken: 0 green to 1 fully broken."),
    required("request_id", BigInteger, "Number of the request that found it out."),
    required("created_at", INSTANT, "When.", default="now()"),
    PrimaryKeyConstraint("queue", "uri", "project"),
    CheckConstraint("degree >= 0 AND degree <= 1", name="degree"),
    index("facts_request", "queue, request_id", "What a request found out; the fact before a request."),
    comment="What was found out about heads; written once.",
)

queue_polls = Table(
    "queue_polls",
    metadata,
    required("queue", Text, "Name of the queue."),
    required("due_at", INSTANT, "Its ref is looked at again from then on."),
    optional("fault", Text, "Why the last look failed; null: it did not."),
    optional("fault_at", INSTANT, "Since when looks fail; null with fault."),
    PrimaryKeyConstraint("queue"),
    CheckConstraint("(fault IS NULL) = (fault_at IS NULL)", name="fault"),
    CheckConstraint("octet_length(fault) <= 1024", name="fault_length"),
    comment="When queues are looked at.",
)

counters = Table(
    "counters",
    metadata,
    required("queue", Text, "Name of the queue."),
    required("domain", Text, "What is counted."),
    required("value", BigInteger, "The last value that was given."),
    PrimaryKeyConstraint("queue", "domain"),
    comment="Counters of queues.",
)
