"""Environments that contain the wheel and what ``pip install`` would bring along, made without a network."""

import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from subprocess import run
from sys import executable
from sysconfig import get_path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME = PROJECT["name"]


class BareInstalls:
    """
    Args:
        folder: Where the wheel is installed and the environments are made, each once.

    Attributes:
        installed: The wheel as it was installed, compiled: the environments have links to it.
    """

    def __init__(self, wheel: Path, folder: Path) -> None:
        self.installed = folder / "wheel"
        self._folder = folder
        self.programs = cache(self._make)
        install(wheel, self.installed, "--compile-bytecode")

    def _make(self, *packages: str) -> Path:
        """The folder of programs of the environment with these packages, named as for pip."""
        folder = self._folder / str(len(list(self._folder.iterdir())))
        run([executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        scheme = {"base": str(folder), "platbase": str(folder)}
        site = Path(get_path("purelib", scheme="venv", vars=scheme))
        (ours,) = distributions(path=[str(self.installed)])
        for package in [ours, *map(distribution, _needed(map(Requirement, packages)) - {NAME})]:
            _link(package, site=site, programs=folder / "bin")
        uv_pip("check", "--python", str(folder / "bin" / "python"))
        return folder / "bin"


def build_wheel(folder: Path) -> Path:
    """The wheel as hatchling builds it."""
    command = [executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def install(package: Path, folder: Path, *options: str) -> None:
    """Install a wheel or a project alone into a folder that a process may have on its path."""
    offline = ("--offline", "--no-cache", "--no-index", "--no-deps", "--no-build-isolation")
    uv_pip("install", "--python", executable, "--target", str(folder), *offline, *options, str(package))


def uv_pip(command: str, *options: str) -> None:
    run([str(Path(executable).parent / "uv"), "pip", command, "--quiet", *options], check=True)


def asked_for(*extras: str) -> set[Requirement]:
    """The project's requirements for these extras, including the extras that they name."""
    found = set(map(Requirement, PROJECT["dependencies"]))
    for extra in extras:
        for one in map(Requirement, PROJECT["optional-dependencies"][extra]):
            found |= asked_for(*one.extras) if one.name == NAME else {one}
    return found


def _needed(requirements: Iterable[Requirement]) -> set[str]:
    """The distributions that these requirements need here, with their dependencies."""
    found: set[tuple[str, str]] = set()
    waiting = [(one, "") for one in requirements]
    while waiting:
        one, of = waiting.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": of}):
            continue
        name = canonicalize_name(one.name)
        for extra in {"", *one.extras} - {extra for known, extra in found if known == name}:
            found.add((name, extra))
            waiting += [(needs, extra) for needs in _requirements_of(name, extra)]
    return {name for name, _ in found}


def _requirements_of(name: str, extra: str) -> Sequence[Requirement]:
    if name == NAME:
        return list(asked_for(*([extra] if extra else ())))
    return [Requirement(line) for line in distribution(name).requires or ()]


def _link(package: Distribution, *, site: Path, programs: Path) -> None:
    files = [file for file in package.files or () if ".." not in file.parts]
    whole = {file.parts[0] for file in files if file.parts[1:] in {("__init__.py",), ("METADATA",)}}
    for name in {file.parts[0] if file.parts[0] in whole else str(file) for file in files}:
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).symlink_to(str(package.locate_file(name)))
    for one in package.entry_points.select(group="console_scripts"):
        program = programs / one.name
        program.write_text(f"#!{programs / 'python'}\nfrom {one.module} import {one.attr}\nexit({one.attr}())\n")
        program.chmod(0o755)
