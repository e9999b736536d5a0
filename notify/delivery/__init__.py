"""Letters out: claim, last look, send, record, again and again."""
