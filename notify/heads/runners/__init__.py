"""Runners of builds: where a head is validated."""
