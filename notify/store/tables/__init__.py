"""Every table of the schema ``notify`` for SQLAlchemy Core. A test compares the migrations with it."""

from notify.store.tables import emails, forges, heads, operations, people, statuses, webhooks
from notify.store.tables.schema import SCHEMA, SERVES, metadata

__all__ = ["SCHEMA", "SERVES", "emails", "forges", "heads", "metadata", "operations", "people", "statuses", "webhooks"]
