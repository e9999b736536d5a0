"""``python -m notify.worker`` saves memory, and can still do all that a worker does."""

import sys
from collections.abc import Mapping
from subprocess import run

READ_AN_ENTRY = """
import sys, notify.worker.__main__
from notify.domain.forge import RepositoryFile
from notify.sources.entries import read_entries
unused = [name for name in ("msgpack", "pygments", "rich", "yaml") if sys.modules.get(name)]
file = RepositoryFile(path="rfcs/cap.md", sha="1", text="---\\nslug: cap\\n---\\nWords.")
print(unused, [one.slug for one in read_entries([file])])
"""


def test_a_worker_process_reads_front_matter_and_imports_nothing_for_it_before(environment: Mapping[str, str]) -> None:
    done = run([sys.executable, "-c", READ_AN_ENTRY], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("[] ['cap']\n", 0), done.stderr
