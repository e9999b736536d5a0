"""What keeps the outbox well and what people watch: relays, rates, counts, upkeep."""
