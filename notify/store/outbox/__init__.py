"""The outbox: events, notifications, jobs, bundles and work items."""
