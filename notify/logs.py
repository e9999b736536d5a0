"""Log lines: readable on a terminal, JSON elsewhere; never an address, a body or a credential."""

import logging
import sys
from json import JSONEncoder
from re import MULTILINE
from re import compile as pattern
from typing import Literal

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

Style = Literal["auto", "console", "json"]

EMAILS = "notify.emails"
SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)
DETAIL = pattern(r"^DETAIL: .*$", MULTILINE)
_encode = JSONEncoder(ensure_ascii=False, check_circular=False).encode
# At INFO these repeat our own lines, or contain addresses and URLs.
QUIET = ("httpx", "kombu", "amqp", "mail.log", "uvicorn.access", "alembic.runtime.migration")


def configure(*, level: str, style: Style) -> None:
    """Send all logs, including those of the standard library's loggers, to standard error in one format."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(console=_is_console(style)))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def about_emails(*, level: str, style: Style) -> FilteringBoundLogger:
    """
    The logger for outcomes of emails, to standard error in the same format.

    *Decided*: JSON bypasses the standard library's loggers, which cost four times as much as the line.
    """
    if _is_console(style):
        console: FilteringBoundLogger = structlog.get_logger(EMAILS)
        return console
    json: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    ).bind(logger=EMAILS)
    return json


def _json(line: EventDict, **_: object) -> str:
    return _encode(line)


def _is_console(style: Style) -> bool:
    return style == "console" or (style == "auto" and sys.stderr.isatty())


def _formatter(*, console: bool) -> logging.Formatter:
    """Tracebacks are without local variables, which may contain addresses, bodies and the relay's password."""
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            without_details,
            renderer,
        ],
    )


def without_details(_logger: object, _method: str, line: EventDict) -> EventDict:
    """The line without PostgreSQL's DETAIL, which quotes the refused row."""
    if isinstance(trace := line.get("exception"), str):
        line["exception"] = DETAIL.sub("DETAIL: (not kept)", trace)
    return line
