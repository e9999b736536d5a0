"""``notify grpc``: the gRPC server."""

from importlib import import_module

from notify import logs
from notify.cli.connect import complete_settings


def grpc() -> None:
    """
    Serve gRPC at NOTIFY_GRPC_HOST and NOTIFY_GRPC_PORT until Ctrl-C.

    The service notify.heads.v1.Heads takes in heads of queues; health and reflection are on.
    """
    server = import_module("notify.rpc.server")  # all commands would wait for it
    with complete_settings() as settings:
        logs.configure(level=settings.log_level, style=settings.log_format)
        server.run(settings)
