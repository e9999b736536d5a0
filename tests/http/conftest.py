"""The API on an empty database, and callers of every kind."""

from tests.support.callers import api, app, context, doorbell, links, person, program  # noqa: F401 - fixtures
