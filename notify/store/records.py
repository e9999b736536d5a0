"""Parts of statements: many rows in one parameter, so that a batch is one statement of one shape; instants from now."""

from typing import Any

from sqlalchemy import ColumnElement, Interval, Text, bindparam, cast, column, func, literal_column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.selectable import TableValuedAlias


def records(name: str, **columns: Any) -> TableValuedAlias:  # noqa: ANN401 - column types of any kind
    """The parameter *name*, a JSON array of objects, as a table of that name; an absent field is null."""
    document = cast(bindparam(name, type_=Text), JSONB)
    return (
        func.jsonb_to_recordset(document)
        .table_valued(*(column(key, kind) for key, kind in columns.items()), name=name)
        .render_derived(with_types=True)
    )


def after(seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    """The instant so many seconds from now, on the database's clock."""
    return func.now() + seconds * literal_column("interval '1 second'", Interval)
