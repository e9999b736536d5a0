"""A migrated database that tests copy, because a first start takes long."""

from pathlib import Path
from subprocess import run

import pytest

from notify.embedded.postgres import PostgresServer
from notify.embedded.stack import stack_settings
from notify.settings import Settings


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stopped and migrated database of a data folder."""
    data_dir = tmp_path_factory.mktemp("cluster")
    with stack_settings(Settings(data_dir=data_dir)):
        pass
    return PostgresServer(data_dir).cluster


@pytest.fixture
def data_dir(tmp_path: Path, cluster: Path) -> Path:
    """A data folder with a migrated database."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    run(["cp", "-Rp", cluster, folder], check=True)  # noqa: S607
    return folder
