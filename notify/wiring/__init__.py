"""
Builds all objects from the settings; the only package that knows every concrete class.

Functions import what they build, because an application that emits, an API and a worker each have only some of it
installed.
"""

from notify.wiring.connections import (
    NO_BROKER,
    NO_DATABASE,
    celery_app,
    checkpoint,
    database,
    doorbell,
    process_doorbell,
)
from notify.wiring.event_types import added_templates, store_event_types
from notify.wiring.forges_and_queues import forge_settings, forges, head_stores, ingest, queues
from notify.wiring.mail import (
    NO_MAIL,
    PREVIEW_KEY,
    channels,
    composer,
    ehlo_name,
    links,
    message_host,
    preview_composer,
    relays,
    signer,
)
from notify.wiring.stages import (
    ENGINE,
    FAN_OUT_BATCH,
    HEADS_BATCH,
    HEARTBEATS,
    INBOX_BATCH,
    PULSE_SECONDS,
    SILENT_ENGINE_SECONDS,
    STAGE_NAMES,
    STAGES,
    STATUS_BATCH,
    StageKind,
    engine,
    fan_out,
    heads,
    inbox,
    reconciler,
    statuses,
)

__all__ = [
    "ENGINE",
    "FAN_OUT_BATCH",
    "HEADS_BATCH",
    "HEARTBEATS",
    "INBOX_BATCH",
    "NO_BROKER",
    "NO_DATABASE",
    "NO_MAIL",
    "PREVIEW_KEY",
    "PULSE_SECONDS",
    "SILENT_ENGINE_SECONDS",
    "STAGES",
    "STAGE_NAMES",
    "STATUS_BATCH",
    "StageKind",
    "added_templates",
    "celery_app",
    "channels",
    "checkpoint",
    "composer",
    "database",
    "doorbell",
    "ehlo_name",
    "engine",
    "fan_out",
    "forge_settings",
    "forges",
    "head_stores",
    "heads",
    "inbox",
    "ingest",
    "links",
    "message_host",
    "preview_composer",
    "process_doorbell",
    "queues",
    "reconciler",
    "relays",
    "signer",
    "statuses",
    "store_event_types",
]
