"""Emails out: claim, recheck, send, record, again and again."""
