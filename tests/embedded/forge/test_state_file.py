"""The embedded forge keeps what it was told over a restart, and also when it is killed."""

from os import kill
from pathlib import Path
from signal import SIGKILL
from subprocess import PIPE, Popen
from sys import executable

from notify.embedded.forge.server import forging
from notify.embedded.forge.state_file import REPOSITORIES, STATUSES
from notify.embedded.forge.workflows import FOLDER, Workflows
from tests.embedded.forge.conftest import REPOSITORY
from tests.support.forge_calls import client, installation_token
from tests.support.wait import until

# A forge that says where it is, and then stays until it is killed.
ANOTHER = """
import sys
from pathlib import Path
from notify.embedded.forge.server import forging
with forging(Path(sys.argv[1]), webhook_url=None) as forge:
    forge.state.add_repository("acme/app")
    print(forge.url, flush=True)
    sys.stdin.read()
"""


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    with forging(tmp_path, webhook_url=None) as first:
        first.state.add_repository(REPOSITORY)
        first.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
        first.state.add_labels(REPOSITORY, 1, by="bob", names=["slow"])
        first.state.put_file(REPOSITORY, f"{FOLDER}/heads.yml", "on: workflow_dispatch\n", by="bob")
        workflow = Workflows(first.state).start(REPOSITORY, "heads.yml", branch="main", by="bob")
        Workflows(first.state).end(REPOSITORY, workflow.id, "success")
        sha = first.state.repository(REPOSITORY).pulls[1].head_sha
        with client(first, installation_token(first, tmp_path)) as calls:
            calls.post(f"/repos/{REPOSITORY}/statuses/{sha}", json={"state": "pending"}).raise_for_status()
            run = calls.post(f"/repos/{REPOSITORY}/check-runs", json={"name": "lint", "head_sha": sha}).json()
            said = {"conclusion": "failure", "output": {"title": "t", "summary": "s"}}
            shown = calls.patch(f"/repos/{REPOSITORY}/check-runs/{run['id']}", json=said).json()
        before, told = first.state.repositories, first.state.statuses.calls
        configuration = first.configuration.read_text()
    with forging(tmp_path, webhook_url=None) as second:
        assert second.state.repositories == before
        assert second.state.statuses.calls == told
        assert second.configuration.read_text().replace(second.url, "") == configuration.replace(first.url, "")
        with client(second, "person_bob") as calls:
            again = calls.get(f"/repos/{REPOSITORY}/check-runs/{run['id']}").json()
        told_alike = ("id", "name", "conclusion", "started_at", "completed_at")
        assert {name: again[name] for name in told_alike} == {name: shown[name] for name in told_alike}
        assert again["output"]["summary"] == "s"
        made = second.state.comment(REPOSITORY, 1, by="bob", body="Again")
        assert made.id > max(run["id"], workflow.id, *second.state.statuses.ids())


def test_a_killed_forge_has_kept_every_status_that_it_answered(tmp_path: Path) -> None:
    with Popen([executable, "-c", ANOTHER, str(tmp_path)], stdin=PIPE, stdout=PIPE, text=True) as running:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        until((tmp_path / REPOSITORIES).exists)
        with client(url, "person_bob") as calls:
            sha = calls.get(f"/repos/{REPOSITORY}/branches").json()[0]["commit"]["sha"]
            for number in range(5):
                body = {"state": "success", "context": f"c{number}"}
                calls.post(f"/repos/{REPOSITORY}/statuses/{sha}", json=body).raise_for_status()
        kill(running.pid, SIGKILL)
        running.wait()
    with (tmp_path / STATUSES).open("ab") as file:
        file.write(b'{"id":')  # what the kill cut short
    with forging(tmp_path, webhook_url=None) as forge:
        assert [one.context for one in forge.state.statuses.calls] == ["c0", "c1", "c2", "c3", "c4"]
        assert forge.state.repository(REPOSITORY).branches == {"main": sha}
    assert len((tmp_path / STATUSES).read_bytes().splitlines()) == 5


def test_what_earlier_versions_kept_still_knows_its_commits(tmp_path: Path) -> None:
    with forging(tmp_path, webhook_url=None) as first:
        first.state.add_repository(REPOSITORY)
        sha = first.state.open_pull(REPOSITORY, by="alice", title="Change", head="b").head_sha
        first.state.repository(REPOSITORY).commits.clear()
    with forging(tmp_path, webhook_url=None) as second, client(second, "person_bob") as calls:
        assert calls.post(f"/repos/{REPOSITORY}/statuses/{sha}", json={"state": "success"}).status_code == 201
