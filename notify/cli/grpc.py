"""``notify grpc``: the gRPC server."""

from notify import logs
from notify.cli.connect import complete_settings
from notify.rpc import server


def grpc() -> None:
    """
    Serve gRPC at NOTIFY_GRPC_HOST and NOTIFY_GRPC_PORT until Ctrl-C.

    The service notify.heads.v1.Heads takes in heads of queues; health and reflection are on.
    """
    with complete_settings() as settings:
        logs.configure(level=settings.log_level, style=settings.log_format)
        server.run(settings)
