"""The code for gRPC is what ``make protos`` makes of the .proto file, and runs with the oldest packages allowed."""

import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from shlex import split
from subprocess import run

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notify" / "rpc" / "v1"
GENERATED = sorted(FOLDER.glob("*_pb2*"))
PROTOBUF = re.compile(r"^# Protobuf Python Version: (\S+)$", re.MULTILINE)
GRPC = re.compile(r"^GRPC_GENERATED_VERSION = '(\S+)'$", re.MULTILINE)


def made_with() -> dict[str, str]:
    """The versions of the packages that the code needs at least."""
    text = "".join(path.read_text(encoding="utf-8") for path in GENERATED)
    protobuf, grpc = PROTOBUF.search(text), GRPC.search(text)
    assert protobuf is not None
    assert grpc is not None
    return {"protobuf": protobuf[1], "grpcio": grpc[1]}


def test_generating_again_gives_the_same_bytes(tmp_path: Path) -> None:
    made, installed = made_with()["grpcio"], version("grpcio-tools")
    if made != installed:
        pytest.skip(f"made with grpcio-tools {made}, and {installed} is installed: run make protos and commit")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^protos:.*\n\t@\$\(BIN\)/python (.+)$", makefile, re.MULTILINE)
    run([sys.executable, *split(recipe.replace("_out=.", f"_out={tmp_path}"))], cwd=ROOT, check=True)

    again = {path.name: path.read_bytes() for path in tmp_path.rglob("*.py*")}
    assert again == {path.name: path.read_bytes() for path in GENERATED}


def test_the_extra_asks_for_packages_that_are_new_enough_for_the_generated_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {one.name: one.specifier for one in map(Requirement, project["optional-dependencies"]["grpc"])}
    assert {name: str(asked[name]) for name in made_with()} == {name: f">={one}" for name, one in made_with().items()}
