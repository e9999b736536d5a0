"""A Django project in this process, on the test's database; whoever imports it configures Django, once."""

from typing import Any

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

from notify.contrib.django import emit


def comment(key: str = "k1", **changes: Any) -> dict[str, Any]:
    return {
        "key": key,
        "type": "cl.comment.created",
        "actor": "dana",
        "cl": {"link": "CL-1", "author": "alice"},
        "comment": {"id": "1", "body": "Why?"},
        **changes,
    }


def says(request: HttpRequest) -> HttpResponse:
    """A view that emits where ATOMIC_REQUESTS is on, and then fails if it is asked to."""
    emit(comment(request.GET["key"]), using="other")
    if "fail" in request.GET:
        raise RuntimeError
    return HttpResponse()


urlpatterns = [path("says", says)]


def configure(databases: dict[str, dict[str, Any]]) -> None:
    settings.configure(
        DATABASES=databases,
        INSTALLED_APPS=["notify.contrib.django"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="k" * 32,
        ALLOWED_HOSTS=["testserver"],
        LOGGING_CONFIG=None,
        USE_TZ=True,
    )
    django.setup()
