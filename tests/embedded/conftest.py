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


@pytest.fixture(scope="module")
def data_dir(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a migrated database, which the tests of a file use one after the other."""
    return with_cluster(tmp_path_factory.mktemp("stack") / "data", cluster)


@pytest.fixture
def own_data_dir(cluster: Path, tmp_path: Path) -> Path:
    """The same for a test that breaks it."""
    return with_cluster(tmp_path / "data", cluster)


def with_cluster(folder: Path, cluster: Path) -> Path:
    folder.mkdir(mode=0o700)
    run(["cp", "-Rp", cluster, folder], check=True)  # noqa: S607
    return folder
