"""What all HTTP calls share: authentication, limits, bodies, pages and error answers."""
