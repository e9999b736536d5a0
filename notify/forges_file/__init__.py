"""
The forges file: forges and queues in TOML (``NOTIFY_FORGES_FILE``).

It holds no secret, only the names of the variables and files that do.
"""

from notify.forges_file.load import load

__all__ = ["load"]
