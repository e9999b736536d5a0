"""What the app does as itself: its installations, its tokens and its webhooks."""

from collections.abc import Iterable
from http import HTTPStatus

from fastapi import Response

from notify.embedded.forge.hooks import HookDelivery, Hooks
from notify.embedded.forge.routes.call import REPOSITORY, Call, Route, as_json
from notify.embedded.forge.routes.lookup import Lookup
from notify.embedded.forge.routes.tokens import Tokens
from notify.embedded.forge.shapes.app_shapes import INSTALLATION, PERMISSIONS
from notify.embedded.forge.shapes.repository_shapes import Json, text
from notify.embedded.forge.shapes.shapes import Shapes
from notify.embedded.forge.state import ForgeState, Unknown


class AppRoutes:
    def __init__(self, state: ForgeState, shapes: Shapes, hooks: Hooks, *, lookup: Lookup, tokens: Tokens) -> None:
        self._state, self._shapes, self._hooks = state, shapes, hooks
        self._lookup, self._tokens = lookup, tokens

    def routes(self) -> Iterable[Route]:
        return (
            ("GET", "/app", self._app),
            ("GET", "/app/hook/deliveries", self._hook_deliveries),
            ("POST", "/app/hook/deliveries/{id}/attempts", self._deliver_again),
            ("GET", "/app/installations", self._installations),
            ("GET", "/orgs/{owner}/installation", self._installation),
            ("GET", f"{REPOSITORY}/installation", self._installation),
            ("POST", "/app/installations/{id}/access_tokens", self._token),
            ("GET", "/installation/repositories", self._repositories),
        )

    def _app(self, call: Call) -> Json:
        call.only("app")
        return self._shapes.app.app()

    def _installations(self, call: Call) -> list[Json]:
        call.only("app")
        owners = sorted({one.owner for one in self._state.repositories.values()})
        return [self._shapes.app.installation(owner) for owner in owners[:1]]

    def _installation(self, call: Call) -> Json:
        call.only("app")
        of_organization = call.request.path_params.keys() == {"owner"}
        return self._shapes.app.installation(
            call.named("owner") if of_organization else self._lookup.repository(call).owner
        )

    def _token(self, call: Call) -> Response:
        call.only("app")
        if call.number("id") != INSTALLATION:
            raise Unknown
        token, expires_at = self._tokens.issue()
        given = {
            "token": token,
            "expires_at": text(expires_at),
            "permissions": PERMISSIONS,
            "repository_selection": "all",
        }
        return as_json(given, status=HTTPStatus.CREATED)

    def _hook_deliveries(self, call: Call) -> list[Json]:
        call.only("app")
        failed = call.query("status") == "failure"
        found = [one for one in reversed(self._hooks.deliveries) if not (failed and one.arrived)]
        return [self._hook_delivery(one) for one in found]

    def _hook_delivery(self, one: HookDelivery) -> Json:
        return {
            "id": one.id,
            "guid": one.guid,
            "delivered_at": text(one.created_at),
            "redelivery": one.redelivery,
            "duration": one.seconds,
            "status": "OK" if one.arrived else "Failed to connect",
            "status_code": one.status_code,
            "event": one.event,
            "action": one.action,
            "installation_id": INSTALLATION,
            "repository_id": one.repository_id,
        }

    def _deliver_again(self, call: Call) -> Response:
        call.only("app")
        for one in self._hooks.deliveries:
            if one.id == call.number("id"):
                self._hooks.again(one)
                return as_json({}, status=HTTPStatus.ACCEPTED)
        raise Unknown

    def _repositories(self, call: Call) -> Response:
        call.only("installation")
        found = self._state.repositories.values()
        return call.counted("repositories", list(found), self._shapes.repositories.repository)
