"""The embedded forge's repositories of git, served over HTTP, and the queue that validates one of them."""
