"""The URL of one of Django's databases."""

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import Conninfo
from sqlalchemy import URL

OURS = frozenset({"client_encoding"})


def url_of(connection: BaseDatabaseWrapper) -> str:
    """The URL, with its password, of what Django connects to: in a test run, the test's database."""
    given = connection.get_connection_params()
    known = {one.keyword.decode() for one in Conninfo.get_defaults()} - OURS
    options = {name: str(value) for name, value in given.items() if name in known and value is not None}
    if role := connection.settings_dict["OPTIONS"].get("assume_role"):
        escaped = str(role).replace("\\", r"\\").replace(" ", r"\ ")
        options["options"] = f"{options.get('options', '')} -c role={escaped}".strip()
    url = URL.create(
        "postgresql",
        username=options.pop("user", None),
        password=options.pop("password", None),
        database=options.pop("dbname", None),
        query=options,
    )
    return url.render_as_string(hide_password=False)
