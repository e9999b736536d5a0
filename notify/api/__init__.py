"""The REST door and the pages that letters link to."""
