"""What is due, who is told and by which email: from an event to the end of an attempt."""
