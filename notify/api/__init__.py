"""The REST doors, and the application that serves them and the pages."""
