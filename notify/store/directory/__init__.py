"""People, change lists, preferences and API tokens."""
