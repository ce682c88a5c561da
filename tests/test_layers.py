"""The one import direction: environments, then state_representation, then rl_baselines, without cycles."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("environments", "state_representation", "rl_baselines")
LEARNING_LIBRARIES = ("torch", "stable_baselines3", "sb3_contrib")


def modules(root: Path) -> dict[str, Path]:
    """Return the file of each module of the three packages by its dotted name."""
    files = [path for layer in LAYERS for path in sorted((root / layer).rglob("*.py"))]
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def import_statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports below a node, but for those in a function `main` and those for the type checker only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from (found for other in child.orelse for found in import_statements(ast.Module([other], [])))
        elif not (isinstance(child, ast.FunctionDef) and child.name == "main"):
            yield from import_statements(child)


def imported(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Return the modules that one module imports; an imported name that is no module stands for its module."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for statement in import_statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            found.update(alias.name for alias in statement.names)
            continue
        above = package.split(".")[: len(package.split(".")) + 1 - statement.level] if statement.level else []
        base = ".".join([*above, *([statement.module] if statement.module else [])])
        inner = {f"{base}.{alias.name}" for alias in statement.names}
        found |= {entry if entry in known else base for entry in inner}
    return found


def violations(root: Path) -> list[str]:
    """Return what breaks the import direction in the tree, a line each."""
    known = modules(root)
    graph = {name: imported(name, path, known) for name, path in known.items()}
    wrong = []
    for name, targets in graph.items():
        layer = LAYERS.index(name.split(".")[0])
        forbidden = (*LAYERS[layer + 1 :], *(LEARNING_LIBRARIES if layer == 0 else ()))
        wrong += [f"{name} imports {target}" for target in sorted(targets) if target.split(".")[0] in forbidden]
    try:
        TopologicalSorter({name: (targets & set(known)) - {name} for name, targets in graph.items()}).prepare()
    except CycleError as error:
        wrong.append("cycle: " + " <- ".join(error.args[1]))
    return wrong


def test_imports_only_go_down() -> None:
    """No module of the tree imports from a higher layer or in a circle; environments knows no learning library."""
    assert {name.split(".")[0] for name in modules(ROOT)} == set(LAYERS)
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("environments/bad.py", "import rl_baselines.config", ["environments.bad imports rl_baselines.config"]),
        ("environments/bad.py", "def f():\n    import torch.nn", ["environments.bad imports torch.nn"]),
        ("environments/bad.py", "try:\n    from sb3_contrib import TRPO\nexcept ImportError:\n    pass",
         ["environments.bad imports sb3_contrib"]),
        ("state_representation/bad.py", "from rl_baselines import config",
         ["state_representation.bad imports rl_baselines.config"]),
        ("rl_baselines/config.py", "from . import train",
         ["cycle: rl_baselines.config <- rl_baselines.train <- rl_baselines.config"]),
        ("environments/good.py", "def main():\n    import rl_baselines.train", []),
        ("environments/good.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", []),
        ("rl_baselines/good.py", "from environments import registry\nfrom .train import *", []),
    ],
)  # fmt: skip
def test_each_kind_of_violation_is_found(tmp_path: Path, path: str, source: str, expected: list[str]) -> None:
    """A module that breaks a rule is named, one that keeps them is not."""
    tree = {"environments/registry.py": "", "state_representation/model.py": "", "rl_baselines/config.py": ""}
    tree["rl_baselines/train.py"] = "from rl_baselines.config import RunConfig\n"
    for name, text in (tree | {path: source}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert violations(tmp_path) == expected
