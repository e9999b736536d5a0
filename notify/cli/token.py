"""``notify token``: tokens for the API."""

from datetime import timedelta
from typing import Annotated

from typer import Argument, Option, Typer

from notify.cli.connect import complete_settings, connect
from notify.cli.output import AsJson, Columns, print_json, print_records
from notify.domain.errors import InvalidSettings, NotifyError
from notify.http.person_tokens import issue_user_token
from notify.store.directory import tokens
from notify.store.directory.tokens import Scope

COLUMNS: Columns = {
    "id": "id",
    "name": "name",
    "scopes": "scopes",
    "created": "created_at",
    "last used": "last_used_at",
    "revoked": "revoked_at",
}

app = Typer(help="Create, list and revoke API tokens.", no_args_is_help=True)


class NoSuchToken(NotifyError):
    """There is no valid token with this id."""


@app.command()
def create(
    *,
    scope: Annotated[list[Scope], Option(help="What the program may do; repeat for more.")],
    name: Annotated[str, Option(help="What the token is for.")] = "unnamed",
    as_json: AsJson = False,
) -> None:
    """Create a program's token. It is shown only once; only its hash is stored."""
    with connect() as deployment, deployment.database.begin() as connection:
        token = tokens.create(connection, name, scopes=scope)
    _print_token(token, as_json=as_json, name=name, scopes=sorted(set(scope)))


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List every program's token ever created, without the secrets."""
    with connect() as deployment, deployment.database.begin() as connection:
        issued = tokens.issued(connection)
    print_records(issued, COLUMNS, empty="no token has been created", as_json=as_json)


@app.command()
def revoke(token_id: Annotated[int, Argument(metavar="ID", help="As `notify token list` shows it.")]) -> None:
    """Revoke a program's token at once."""
    with connect() as deployment, deployment.database.begin() as connection:
        if not tokens.revoke(connection, token_id):
            raise NoSuchToken(id=token_id)


@app.command()
def user(
    username: Annotated[str, Argument(help="The person's username.")],
    *,
    hours: Annotated[float, Option(min=0.01, help="How long it is valid.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Create a JWT for a person, signed with NOTIFY_JWT_SECRET."""
    with complete_settings() as settings:
        if settings.jwt_secret is None:
            raise InvalidSettings("NOTIFY_JWT_SECRET is not set; expected the secret that signs people's tokens")
        token = issue_user_token(
            settings.jwt_secret.get_secret_value(),
            username,
            ttl=timedelta(hours=hours),
            claim=settings.jwt_claim,
            audience=settings.jwt_audience,
        )
    _print_token(token, as_json=as_json, username=username)


def _print_token(token: str, *, as_json: bool, **facts: object) -> None:
    if as_json:
        print_json({"token": token, **facts})
    else:
        print(token)  # noqa: T201 - a token must not be wrapped at the terminal's width
