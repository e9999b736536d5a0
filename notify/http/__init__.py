"""What every call over HTTP passes, whatever it asks for: who calls, how often, how much, and how it is refused."""
