"""
A bare endpoint of the same framework, which inserts the body that it gets.

Started by ``uvicorn --factory tests.benchmarks.peers.bare_endpoint:create_app``.
"""

from os import environ

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from notify.store.database import Database

TABLE = "CREATE TABLE public.bare_bodies (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body BYTEA NOT NULL)"


def create_app() -> FastAPI:
    """The application on the database of NOTIFY_DATABASE_URL, which has the table."""
    app = FastAPI()
    database = Database(environ["NOTIFY_DATABASE_URL"])

    def insert(body: bytes) -> None:
        with database.begin() as connection:
            connection.exec_driver_sql("INSERT INTO public.bare_bodies (body) VALUES (%(body)s)", {"body": body})

    @app.post("/webhooks/github", status_code=202)
    async def take(request: Request) -> Response:
        await run_in_threadpool(insert, await request.body())
        return Response(status_code=202)

    return app
