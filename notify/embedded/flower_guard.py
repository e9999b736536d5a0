"""
The Flower of the embedded stack: it asks nobody for a password, so it answers to this machine only.

Flower reads this when it starts (FLOWER_CONF), in the place of a file of its options.
"""

from typing import Any

from flower import command  # type: ignore[import-untyped]
from flower.app import Flower  # type: ignore[import-untyped]
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import ErrorHandler, OutputTransform

from notify.dns_names import is_local

FORBIDDEN = 403
LETS_OTHER_SITES_READ = "Access-Control-Allow-Origin"


class LocalFlower(Flower):  # type: ignore[misc]  # Flower is not typed
    """
    Flower, refusing calls by the name of a site, and without leave for other sites to read its answers.

    Without a password Flower lets every site read its API, events that came in by Celery included.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the arguments are Flower's own
        super().__init__(*args, **kwargs)
        self.add_transform(_OwnPagesOnly)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:  # noqa: ANN401 - the same
        if is_local(request.host_name):
            return super().find_handler(request, **kwargs)
        return self.get_handler_delegate(request, ErrorHandler, {"status_code": FORBIDDEN})


class _OwnPagesOnly(OutputTransform):
    def transform_first_chunk(
        self,
        status_code: int,
        headers: HTTPHeaders,
        chunk: bytes,
        finishing: bool,
    ) -> tuple[int, HTTPHeaders, bytes]:
        headers.pop(LETS_OTHER_SITES_READ, None)
        return super().transform_first_chunk(status_code, headers, chunk, finishing)


command.Flower = LocalFlower
