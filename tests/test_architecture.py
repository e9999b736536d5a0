"""The direction of imports, and what every file needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.api import read_configuration
from importlinter.cli import lint_imports

import notify

PACKAGE = Path(notify.__file__).parent
CHECKOUT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def test_no_import_goes_against_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    arrows, *_ = read_configuration("pyproject.toml")["contracts_options"]
    assert arrows["exhaustive"] == "True", "a module that is in no layer must fail"
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == 0


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_file_starts_with_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree)


def imported_by(path: Path) -> set[str]:
    """The top-level names of the imported modules, ours in full."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name if name.startswith("notify.") else name.partition(".")[0] for name in found}


@pytest.mark.parametrize("path", sorted((PACKAGE / "domain").glob("*.py")), ids=lambda path: path.name)
def test_the_domain_imports_only_the_standard_library(path: Path) -> None:
    ours = {name for name in imported_by(path) if f"{name}.".startswith("notify.domain.")}
    foreign = imported_by(path) - ours - sys.stdlib_module_names
    assert foreign == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "store").rglob("*.py")), ids=lambda path: path.name)
def test_the_store_never_ends_its_callers_transaction(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    assert {call.attr for call in calls}.isdisjoint({"commit", "rollback"})


def test_importing_notify_imports_next_to_nothing() -> None:
    program = "import sys; before = set(sys.modules); import notify; print(*sorted(set(sys.modules) - before))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(ran.stdout.split())
    assert "notify" in loaded
    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"notify"}
