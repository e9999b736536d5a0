"""When the breaker of an HTTP server, a forge or a webhook endpoint, opens, and how long it stays open."""

from datetime import timedelta

OPENS_AFTER = 5
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=5)
PROBE_WITHIN = timedelta(minutes=1)
