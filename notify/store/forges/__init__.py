"""SQL for webhook deliveries, the mirror of forges, and identities."""
