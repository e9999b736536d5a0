"""Webhook endpoints, and the calls that tell them of outcomes."""
