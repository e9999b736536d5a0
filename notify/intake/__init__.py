"""Validates and stores events, and decides who is notified."""
