"""Webhooks of pushes and of builds' ends take a queue forward at once; those of others do not."""

from collections.abc import Iterator
from json import dumps, loads
from pathlib import Path

import httpx
import pytest

from notify.domain.heads import Request, RequestId
from notify.embedded.forge.workflows import FOLDER, Workflows
from notify.store.database import Database
from notify.store.heads import polls
from notify.store.heads.requests import Requests
from tests.sources.test_inbox import headers
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness
from tests.support.smtp import ScriptedRelay

QUEUE, ELSEWHERE = "app/main", "tools/main"
URI = f"git://host/repo/refs%2Fheads%2Fmain/{'a' * 40}"
CONFIGURATION = f"""
[queues."{QUEUE}"]
forge = "github"
repository = "Acme/App"
ref = "refs/heads/main"
remote = "https://github.example/acme/app.git"
promotion_ref = "refs/heads/green"
runner = {{ kind = "github_actions", workflow = "heads.yml", ref = "refs/heads/main" }}

[queues."{ELSEWHERE}"]
forge = "github"
repository = "acme/tools"
ref = "refs/heads/main"
remote = "https://github.example/acme/tools.git"
runner = {{ kind = "http", url = "https://ci.example/builds" }}
"""


@pytest.fixture
def sources(database: Database, relay: ScriptedRelay, tmp_path: Path) -> Iterator[ForgeHarness]:
    """A forge with the queue's repository; the next look at every ref, and at every build, is an hour away."""
    with forge_harness(database, relay.url, tmp_path, configuration=CONFIGURATION) as made:
        definition = "run-name: Validate ${{ inputs.request }}\non: workflow_dispatch\n"
        made.forge.state.put_file(REPOSITORY, f"{FOLDER}/heads.yml", definition, by="alice")
        made.take_webhooks()
        requests = Requests(database)
        for queue in (QUEUE, ELSEWHERE):
            for number in (1, 12):
                requests.create(Request(id=RequestId(queue, number), uri=URI))
        wait(made)
        yield made


def wait(sources: ForgeHarness) -> None:
    """Have nothing due for an hour."""
    with sources.worker.database.begin() as connection:
        for queue in (QUEUE, ELSEWHERE):
            polls.make_due(connection, [queue])
        connection.exec_driver_sql("UPDATE notify.queue_polls SET due_at = now() + interval '1 hour'")
        connection.exec_driver_sql(
            "UPDATE notify.work_items SET due_at = now() + interval '1 hour' WHERE stage = 'heads'"
        )


def due_queues(sources: ForgeHarness) -> list[str]:
    """What a push has made due since; then everything waits again."""
    sources.take_webhooks()
    with sources.worker.database.begin() as connection:
        found = [one for one in (QUEUE, ELSEWHERE) if polls.is_due(connection, [one])]
    wait(sources)
    return found


def due_requests(sources: ForgeHarness) -> list[str]:
    """What the end of a build has made due since; then everything waits again."""
    sources.take_webhooks()
    found = sources.rows(
        "SELECT queue, request.id FROM notify.requests AS request"
        " JOIN notify.work_items AS item ON item.stage = 'heads' AND item.id = request.item_id"
        " WHERE item.due_at <= now() ORDER BY queue, request.id"
    )
    wait(sources)
    return [str(RequestId(*row)) for row in found]


def send_changed(sources: ForgeHarness, **changes: object) -> None:
    """Another webhook, which is like the forge's last one but for these values."""
    last = sources.forge.hooks.deliveries[-1]
    body = dumps({**loads(last.body), **changes}).encode()
    sent = httpx.post(sources.webhook_url, content=body, headers=headers(sources, body, event=last.event))
    assert sent.status_code == httpx.codes.ACCEPTED


def test_only_a_push_to_the_queues_ref_makes_it_due(sources: ForgeHarness) -> None:
    state = sources.forge.state
    state.push(REPOSITORY, "main", by="alice")
    assert due_queues(sources) == [QUEUE]
    for branch in ("green", "main2", "feature/main"):
        state.push(REPOSITORY, branch, by="alice")
        assert due_queues(sources) == [], branch
    send_changed(sources, ref="refs/tags/main")
    assert due_queues(sources) == [], "a tag is no branch"
    state.delete_branch(REPOSITORY, "main", by="alice")
    assert due_queues(sources) == [], "a ref that is gone has no head"
    assert statuses(sources) == ["done"] * 4 + ["ignored"] * 2


def statuses(sources: ForgeHarness) -> list[str]:
    """What became of the pushes, but for the one that defined the workflow."""
    found = sources.rows("SELECT status FROM notify.webhook_deliveries WHERE event = 'push' ORDER BY id OFFSET 1")
    return [row.status for row in found]


def test_the_end_of_a_run_makes_its_request_due_and_no_other(sources: ForgeHarness) -> None:
    workflows = Workflows(sources.forge.state)
    ours = f"request/{QUEUE}/1"
    run = workflows.start(REPOSITORY, "heads.yml", branch="main", by="alice", inputs={"request": ours})
    assert due_requests(sources) == [], "it has only begun"
    workflows.end(REPOSITORY, run.id, "failure")
    assert due_requests(sources) == [ours]


def test_the_end_of_another_run_changes_nothing(sources: ForgeHarness) -> None:
    workflows = Workflows(sources.forge.state)
    for name in (
        "",
        "request",
        f"request/{ELSEWHERE}/1",
        f"request/{QUEUE}/7",
        "request/none/1",
        f"request/{QUEUE}/01",
    ):
        run = workflows.start(REPOSITORY, "heads.yml", branch="main", by="alice", inputs={"request": name})
        workflows.end(REPOSITORY, run.id, "success")
        assert due_requests(sources) == [], name
    found = sources.rows("SELECT status FROM notify.webhook_deliveries WHERE event = 'workflow_run' GROUP BY status")
    assert {row.status for row in found} == {"done", "ignored"}, "request 7 is of a queue of ours, but is not there"
