"""
Restricts the embedded Flower, which has no password, to requests from this machine.

Flower executes this file at its start (FLOWER_CONF), as it would a file of options.
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
    Flower that refuses requests for other host names, and lets no other site read its responses.

    Without a password, Flower lets every site that the browser visits read its API (CORS), which holds events.
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
