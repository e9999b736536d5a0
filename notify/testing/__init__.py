"""For the test suites of applications: the types of the fixtures that ``notify.pytest_plugin`` has."""

from notify.testing.delivered import Delivered, DeliveredEmail
from notify.testing.emitted import Emitted

__all__ = ["Delivered", "DeliveredEmail", "Emitted"]
