"""The package of docs/examples: installed beside notify, its event becomes emails in its own words."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from notify.domain.errors import MalformedEvent
from notify.intake.schema import parse
from notify.store.database import Database
from tests.support import bare_install, own_event_type
from tests.support.harness import WorkerHarness
from tests.support.messages import parsed, text_of
from tests.support.smtp import ScriptedRelay

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "event-type"


def test_the_event_of_another_package_is_emailed_in_its_words_where_it_is_installed_and_waits_where_it_is_not(
    database: Database, environment: Mapping[str, str], relay: ScriptedRelay, tmp_path: Path
) -> None:
    bare_install.install(EXAMPLE, tmp_path / "installed")

    said = with_package(tmp_path / "installed", environment, relay)

    assert said["stored"] == [["acme.build.failed"], []]
    assert said["became"] == {"alice": "sent", "oncall": "sent"}
    emails = {one.recipient: parsed(one.content) for one in relay.emails}
    assert "The build of CL-4821 failed" in text_of(emails["oncall@example.com"])
    assert "Der Build von CL-4821 ist fehlgeschlagen" in text_of(emails["alice@example.com"])
    assert emails["alice@example.com"]["X-Notify-Event"] == "acme.build.failed"
    assert all(word in said["preview"] for word in ("The build of CL-4821 failed", "Caps the wait"))
    assert said["doctor"] == {"event type acme.build.failed": True, "template acme.build.failed": True}

    with pytest.raises(MalformedEvent) as refused:
        parse(own_event_type.EVENT)
    assert refused.value.field == "type"
    harness = WorkerHarness(database, relay.url)
    harness.fan_out()
    found = harness.execute("SELECT reason, failures FROM notify.work_items WHERE stage = 'fan_out'")
    assert found == [("unknown_type", 1)]


def with_package(installed: Path, environment: Mapping[str, str], relay: ScriptedRelay) -> Any:
    """What ``own_event_type`` prints in a process that has the example on its path; it leaves an event behind."""
    path = os.pathsep.join([str(installed), str(ROOT)])
    variables = {**os.environ, **environment, "PYTHONPATH": path, "NOTIFY_SMTP_URL": relay.url}
    command = (sys.executable, "-m", own_event_type.__name__)
    done = subprocess.run(command, env=variables, check=True, timeout=120, stdout=subprocess.PIPE, cwd=ROOT)
    return json.loads(done.stdout)
