"""
How Celery runs for notify. The broker's address comes from NOTIFY_BROKER_URL.

A message is a doorbell: it says "look at the table now" and carries nothing, so losing one costs
seconds and repeating one costs a query. Time lives in the table's ``due_at``: no task is ever sent
with ``eta`` or ``countdown``, and none is retried.

Everything that Celery and kombu name on a broker is named here, because brokers are shared: queues, the exchanges of
events and of remote control, and the keys of what is not acknowledged yet. So another application on the same database
takes none of our messages, broadcasts nothing to our workers, and gives back no message of ours, nor we one of its.

*Rejected*: kombu's ``global_keyprefix``. It would hide the queues from applications that emit by ``send_task``, unless
each of them set the same prefix for all that it does with that broker.
"""

from kombu.entity import Exchange, Queue

from notify.domain.stages import FAN_OUT, queue
from notify.wiring import STAGE_NAMES

imports = ("notify.worker.tasks",)

task_queues = tuple(
    Queue(name, Exchange(name), routing_key=name)  # type: ignore[no-untyped-call]  # kombu is not typed
    for name in (*map(queue, STAGE_NAMES), "notify.upkeep")
)
task_default_queue = "notify.upkeep"
task_create_missing_queues = False  # a worker for another queue would take its messages and throw them away
task_routes = {
    **{queue(name): {"queue": queue(name)} for name in STAGE_NAMES},
    "notify.receive": {"queue": queue(FAN_OUT)},
    "notify.upkeep.*": {"queue": "notify.upkeep"},
}
control_exchange = "notify"
event_exchange = "notify.events"
event_queue_prefix = "notify.events"

task_serializer = "json"
result_serializer = "json"
accept_content = ["json"]
task_ignore_result = True
task_store_errors_even_if_ignored = False

task_acks_late = False
worker_prefetch_multiplier = 1  # messages a process takes ahead
worker_hijack_root_logger = False
worker_send_task_events = True
task_send_sent_event = True
task_track_started = True

task_soft_time_limit = 900  # seconds; RFC 5321 allows 600 for one final dot
task_time_limit = 960  # seconds
worker_max_tasks_per_child = 10_000  # tasks
worker_max_memory_per_child = 400_000  # KiB
worker_consumer = "notify.worker.consumer:PatientConsumer"

broker_connection_retry_on_startup = True
broker_channel_error_retry = True  # an answer that is an error (READONLY, MISCONF, OOM, NOPERM) is an outage too
broker_connection_max_retries = None  # tries; a worker without its broker sweeps on for as long as it takes
broker_connection_timeout = 1  # second
broker_heartbeat = 30  # seconds, RabbitMQ only
broker_pool_limit = (
    10  # connections a process publishes over; Flower takes several at once and waits for ever for one more
)
broker_transport_options = {
    "socket_connect_timeout": 1,  # second
    "socket_timeout": 5,  # seconds; a worker's blocking read asks for 1
    "socket_keepalive": True,
    "health_check_interval": 25,  # seconds
    "visibility_timeout": 3_600,  # seconds
    "unacked_key": "notify.unacked",
    "unacked_index_key": "notify.unacked_index",
    "unacked_mutex_key": "notify.unacked_mutex",
    "max_retries": 1,  # tries
    "interval_start": 0,  # seconds
    "interval_step": 0.2,  # seconds
    "interval_max": 0.5,  # seconds
}

timezone = "UTC"
enable_utc = True
beat_schedule = {
    "prune": {
        "task": "notify.upkeep.prune",
        "schedule": 3_600,  # seconds
        "options": {"expires": 3_000},  # seconds
    },
    "redeliver": {
        "task": "notify.upkeep.redeliver",
        "schedule": 3_600,  # seconds
        "options": {"expires": 3_000},  # seconds
    },
    "stats": {
        "task": "notify.upkeep.stats",
        "schedule": 60,  # seconds
        "options": {"expires": 50},  # seconds
    },
}
