"""All shapes of one forge."""

from notify.embedded.forge.shapes.app_shapes import AppShapes
from notify.embedded.forge.shapes.payloads import Payloads
from notify.embedded.forge.shapes.pull_shapes import PullShapes
from notify.embedded.forge.shapes.repository_shapes import RepositoryShapes
from notify.embedded.forge.shapes.run_shapes import RunShapes
from notify.embedded.forge.shapes.status_shapes import StatusShapes
from notify.embedded.forge.state import ForgeState


class Shapes:
    """
    Args:
        web_url: Where people see the forge; the API is below ``/api/v3`` of it, as on GitHub Enterprise Server.
        app_id: Of the app that notify is.
    """

    def __init__(self, state: ForgeState, web_url: str, *, app_id: int) -> None:
        self.repositories = RepositoryShapes(state, web_url)
        self.pulls = PullShapes(self.repositories)
        self.app = AppShapes(state, self.repositories, app_id)
        self.statuses = StatusShapes(self.repositories, self.pulls, self.app)
        self.runs = RunShapes(self.repositories)
        self.payloads = Payloads(self.repositories, self.pulls, self.runs)
