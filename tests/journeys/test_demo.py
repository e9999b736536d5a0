"""``notify demo`` shows what notify does: at once, bundled, in a digest, and not at all."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.supervisor import random_ports


def test_the_demo_shows_an_email_a_bundle_a_digest_and_who_is_not_notified(tmp_path: Path) -> None:
    environment = {**os.environ, **random_ports(), "NOTIFY_DATA_DIR": str(tmp_path / "data")}
    command = [str(Path(sys.executable).with_name("notify")), "demo", "--once", "--json"]

    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )

    result = json.loads(done.stdout)
    told = {(one["to"].partition(" ")[0], len(one["about"])) for one in result["emails"]}
    assert told == {("Alice", 1), ("Alice", 2), ("Carol", 5), ("Dana", 1)}
    assert ["cl.comment.created by carol"] in [one["about"] for one in result["emails"]], "the forge tells by webhook"
    assert {"username": "bob", "actor": "alice", "why": "muted_all"} in result["skipped"]
    assert {"username": "bob", "actor": "dana", "why": "muted_all"} in result["skipped"]
    assert "worker@notify ready" in Path(result["log"]).read_text()
    assert "worker@" not in done.stderr
