"""Time zone names that no machine knows, as a table may contain them."""

UNKNOWN_ZONES = (
    "Mars/Olympus",
    "Europe",
    "Europe/",
    "../../etc/passwd",
    "/etc/localtime",
    "__init__.py",
    "zone.tab",
    "é/ü",
    "Etc/GMT+99",
    "Europe/Berlin\n",
    "x" * 5_000,
    " ",
)
