"""
How Celery runs for notify. The broker's address comes from NOTIFY_BROKER_URL.

A message is a doorbell: it says "look at the table now" and carries nothing, so losing one costs
seconds and repeating one costs a query. Time lives in the table's ``due_at``: no task is ever sent
with ``eta`` or ``countdown``, and none is retried.
"""

imports = ("notify.worker.tasks",)

task_queues = {name: {"exchange": name, "routing_key": name} for name in ("fan_out", "deliver", "upkeep")}
task_default_queue = "upkeep"
task_routes = {
    "notify.fan_out": {"queue": "fan_out"},
    "notify.receive": {"queue": "fan_out"},
    "notify.deliver": {"queue": "deliver"},
    "notify.upkeep.*": {"queue": "upkeep"},
}

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
    "stats": {
        "task": "notify.upkeep.stats",
        "schedule": 60,  # seconds
        "options": {"expires": 50},  # seconds
    },
}
