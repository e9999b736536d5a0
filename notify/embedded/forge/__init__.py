"""The embedded forge: the part of GitHub that notify talks to, on this machine. It keeps what it was told."""
