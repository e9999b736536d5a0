"""Delivery: claim, recheck, send and record emails."""
