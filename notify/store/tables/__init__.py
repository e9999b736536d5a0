"""Every table of the schema ``notify``, as SQLAlchemy Core sees it. Migrations must prove equal to this."""

from notify.store.tables import emails, operations, people
from notify.store.tables.schema import SCHEMA, SERVES, metadata

__all__ = ["SCHEMA", "SERVES", "emails", "metadata", "operations", "people"]
