"""A schema as PostgreSQL's own catalog describes it, for comparison with another."""

from sqlalchemy import Connection, text

from notify.store.tables import SCHEMA

# The version table is alembic's, not ours.
QUESTIONS = {
    "tables": """
        SELECT c.relname, obj_description(c.oid, 'pg_class') AS comment,
            array(SELECT unnest(reloptions) ORDER BY 1) AS options
        FROM pg_class c
        WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind = 'r' AND c.relname <> 'alembic_version'
    """,
    "columns": """
        SELECT c.relname, attname, attnum, format_type(atttypid, atttypmod) AS type, attnotnull, attidentity,
            attgenerated, pg_get_expr(adbin, adrelid) AS default, col_description(attrelid, attnum) AS comment
        FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
            LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind = 'r' AND c.relname <> 'alembic_version'
            AND attnum > 0 AND NOT attisdropped
    """,
    "constraints": """
        SELECT c.relname, conname, contype, pg_get_constraintdef(k.oid) AS definition, convalidated
        FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid
        WHERE c.relnamespace = to_regnamespace(:schema) AND c.relname <> 'alembic_version'
    """,
    "indexes": """
        SELECT c.relname, i.relname AS index, pg_get_indexdef(indexrelid) AS definition, indisvalid,
            contype AS constraint, obj_description(indexrelid, 'pg_class') AS comment
        FROM pg_index x JOIN pg_class c ON c.oid = indrelid JOIN pg_class i ON i.oid = indexrelid
            LEFT JOIN pg_constraint ON conindid = indexrelid AND contype IN ('p', 'u')
        WHERE c.relnamespace = to_regnamespace(:schema) AND c.relname <> 'alembic_version'
    """,
    "other relations": """
        SELECT c.relname, c.relkind
        FROM pg_class c
        WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind NOT IN ('r', 'i', 't')
    """,
    "triggers": """
        SELECT c.relname, tgname, pg_get_triggerdef(t.oid) AS definition
        FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
        WHERE c.relnamespace = to_regnamespace(:schema) AND NOT tgisinternal
    """,
    "functions": "SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace(:schema)",
    "types": """
        SELECT typname FROM pg_type
        WHERE typnamespace = to_regnamespace(:schema) AND typtype <> 'c' AND typelem = 0
    """,
}


def described(connection: Connection) -> dict[str, list[dict[str, object]]]:
    """Everything in our schema, ordered by name only; empty if there is no schema."""
    return {
        name: sorted((dict(row) for row in connection.execute(text(sql), {"schema": SCHEMA}).mappings()), key=repr)
        for name, sql in QUESTIONS.items()
    }
