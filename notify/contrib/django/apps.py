"""The application ``notify.contrib.django``."""

from django.apps import AppConfig
from django.core import checks

from notify.contrib.django.configuration import variables
from notify.contrib.django.schema_check import check_schema


class NotifyConfig(AppConfig):
    """Refuses a wrong NOTIFY at the start, and has the database checked."""

    name = "notify.contrib.django"
    label = "notify"
    verbose_name = "notify"

    def ready(self) -> None:
        variables()
        checks.register(check_schema, checks.Tags.database)
