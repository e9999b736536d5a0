"""Where Celery meets notify. A task holds no decision."""
