"""The schema ``notify``, and helpers to declare its tables."""

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, MetaData, text
from sqlalchemy.schema import SchemaItem

SCHEMA = "notify"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
    },
)

INSTANT = DateTime(timezone=True)
SERVES = "serves"
OFTEN = {
    "autovacuum_vacuum_scale_factor": 0.01,
    "autovacuum_vacuum_threshold": 10_000,
    "autovacuum_analyze_scale_factor": 0.02,
    "autovacuum_vacuum_cost_limit": 1_000,
}


def required(name: str, kind: Any, comment: str, *more: SchemaItem, default: str | None = None) -> Column[Any]:  # noqa: ANN401
    """A NOT NULL column; *default* is SQL."""
    sql = None if default is None else text(default)
    return Column(name, kind, *more, nullable=False, server_default=sql, comment=comment)


def optional(name: str, kind: Any, comment: str, *more: SchemaItem) -> Column[Any]:  # noqa: ANN401
    """A nullable column; *comment* says what null means."""
    return Column(name, kind, *more, comment=comment)


def row_id() -> Column[int]:
    """A generated primary key."""
    return Column("id", BigInteger, Identity(always=True), primary_key=True, comment="Id; rises with time.")


def index(
    name: str, columns: str, serves: str, *, where: str | None = None, include: str = "", unique: bool = False
) -> Index:
    """An index; *serves* says which query needs it, the other arguments are SQL."""
    return Index(
        name,
        *map(text, columns.split(", ")),
        unique=unique,
        postgresql_where=None if where is None else text(where),
        postgresql_include=include.split(", ") if include else None,
        info={SERVES: serves},
    )
