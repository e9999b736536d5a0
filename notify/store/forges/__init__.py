"""What forges tell, in tables: deliveries, the mirror, identities."""
