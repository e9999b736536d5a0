"""``manage.py notify``: notify's command line with Django's settings."""

import os
from argparse import REMAINDER
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from notify.cli import main
from notify.contrib.django.configuration import database_alias, environment
from notify.contrib.django.connection_urls import url_of
from notify.contrib.django.emitting import POSTGRESQL
from notify.settings import load

DATABASE_URL = "NOTIFY_DATABASE_URL"


class Command(BaseCommand):
    """Its output is notify's own, as is its exit code."""

    help = "notify's own commands, with NOTIFY of Django's settings and on Django's database; try: notify -- --help"
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--database", metavar="ALIAS", help="an alias in DATABASES; without it NOTIFY_DATABASE_URL counts first"
        )
        parser.add_argument("arguments", nargs=REMAINDER, metavar="command", help="for example: migrate, doctor")

    def handle(self, *_: object, database: str | None, arguments: list[str], **__: object) -> None:
        with _environment(_variables(database)):
            try:
                main(arguments, name="manage.py notify")
            except SystemExit as ended:
                if ended.code:
                    raise


def _variables(alias: str | None) -> dict[str, str]:
    found = environment()
    if alias is None and load(environment=found, completed_later=True).database_url is not None:
        return found
    connection = connections[alias or database_alias()]
    if connection.vendor != POSTGRESQL:
        message = f"{connection.alias} in DATABASES is {connection.vendor}; expected PostgreSQL, or {DATABASE_URL}"
        raise CommandError(message)
    return found | {DATABASE_URL: url_of(connection)}


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """For this command, which may be one of several in its process; its own processes inherit it."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
