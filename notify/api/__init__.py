"""The REST routes, and the application that serves them and the pages."""
