"""The app that notify is, and its installation, as GitHub's API shows them."""

from notify.embedded.forge.shapes.repository_shapes import Json, RepositoryShapes
from notify.embedded.forge.state import ForgeState

INSTALLATION = 1
PERMISSIONS = {
    "contents": "read",
    "metadata": "read",
    "pull_requests": "write",
    "members": "read",
    "statuses": "write",
    "checks": "write",
    "actions": "write",
}
# No webhooks about what the app itself shows on commits.
EVENTS = [
    "issue_comment",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "push",
    "workflow_run",
]
MADE_AT = "2024-01-01T00:00:00Z"


class AppShapes:
    def __init__(self, state: ForgeState, repositories: RepositoryShapes, app_id: int) -> None:
        self._state, self._repositories, self.app_id = state, repositories, app_id

    def app(self) -> Json:
        return {
            "id": self.app_id,
            "slug": "notify",
            "node_id": f"A_{self.app_id}",
            "owner": self._repositories.user("admin"),
            "name": "notify",
            "description": None,
            "external_url": self._repositories.web_url,
            "html_url": f"{self._repositories.web_url}/apps/notify",
            "created_at": MADE_AT,
            "updated_at": MADE_AT,
            "permissions": PERMISSIONS,
            "events": EVENTS,
        }

    def installation(self, owner: str) -> Json:
        api_url = self._repositories.api_url
        return {
            "id": INSTALLATION,
            "app_id": self.app_id,
            "app_slug": "notify",
            "account": self._repositories.user(owner),
            "target_id": self._state.account_id(owner),
            "target_type": "Organization",
            "repository_selection": "all",
            "access_tokens_url": f"{api_url}/app/installations/{INSTALLATION}/access_tokens",
            "repositories_url": f"{api_url}/installation/repositories",
            "html_url": f"{self._repositories.web_url}/installations/{INSTALLATION}",
            "permissions": PERMISSIONS,
            "events": [],
            "single_file_name": None,
            "created_at": MADE_AT,
            "updated_at": MADE_AT,
            "suspended_by": None,
            "suspended_at": None,
        }
