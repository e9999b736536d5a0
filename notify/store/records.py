"""Many rows in one parameter: a JSON array as a table, so that a batch is one statement of one shape."""

from typing import Any

from sqlalchemy import Text, bindparam, cast, column, func
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
