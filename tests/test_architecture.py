"""The structure of the package, as a test: what may import what."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from featcli.cli import app

PACKAGE = Path(__file__).resolve().parents[1] / "featcli"

ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"


def floors() -> list[list[str]]:
    """The modules on each floor, from top to bottom, as docs/architecture.md has them."""
    table = ARCHITECTURE.read_text().split("| floor |")[1].split("\n\n")[0]
    return [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()[2:]]


LAYERS = floors()
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
# What concerns the user's side of things stays out of the libraries.
KEPT_TO = {"typer": {"cli"}, "rich": {"console.py"}, "yaml": {"config"}, "pydantic": {"config", "metadata.py"}}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "featcli" else {node.module}
            )
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "featcli" and len(parts) > 1 and parts[1] in RANK:
            assert RANK[parts[1]] >= RANK[own], f"{own} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_kept_to_one_place(path: Path) -> None:
    place = path.relative_to(PACKAGE).parts[0]
    for name in imports_of(path):
        allowed = KEPT_TO.get(name.split(".")[0])
        assert allowed is None or place in allowed, f"{place} imports {name}"


def test_commands_know_no_other_command() -> None:
    for path in (PACKAGE / "commands").glob("*.py"):
        assert not {name for name in imports_of(path) if name.startswith("featcli.commands")}, path.name


def test_every_file_of_commands_is_a_command() -> None:
    names = {command.name or "" for command in app.registered_commands} | {
        group.name for group in app.registered_groups
    }
    files = {path.stem for path in (PACKAGE / "commands").glob("*.py")} - {"__init__"}
    assert files == {str(name).replace("-", "_") for name in names - {"help"}}  # of the command line itself


def test_the_description_names_only_what_exists_and_is_short() -> None:
    text = ARCHITECTURE.read_text()
    named = re.findall(r"`((?:featcli|tests|docs|scripts)/[\w/.]*)`", text)
    assert len(named) > 10
    assert [path for path in named if not (PACKAGE.parent / path).exists()] == []
    assert len(text.splitlines()) <= 40


def test_every_module_has_a_layer() -> None:
    assert {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES} - {"__init__"} == set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_read_at_one_sitting_and_a_function_in_one_breath(path: Path) -> None:
    """At most 400 lines, and six parameters; a command's flags are the user's."""
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "cli" not in path.parts:
            names = [item.arg for item in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            assert len([name for name in names if name not in ("self", "cls")]) <= 6, node.name


def test_what_is_learned_is_known_in_one_place() -> None:
    """Outside tasks/, only the solvers of heads know what outputs mean."""
    words = re.compile(r"softmax|argmax|cross.?entropy", re.IGNORECASE)
    found = {str(path.relative_to(PACKAGE)) for path in MODULES if words.search(path.read_text())}
    solvers = {
        f"heads/{name}.py"
        for name in (
            "influence",
            "lbfgs",
            "leave_one_out",
            "logistic",
            "logistic_effort",
            "logistic_folds",
            "logistic_path",
        )
    }
    assert {name for name in found - solvers if not name.startswith("tasks/")} == set()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["train-head", "--help"], ["predict", "--help"], ["--version"]])
def test_help_loads_neither_torch_nor_torchvision(arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "featcli", *arguments], capture_output=True, text=True, check=True
    )
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in ran.stderr.splitlines()}
    assert "typer" in loaded
    assert not loaded & {"torch", "torchvision", "numpy", "PIL"}
