"""The installed package: complete without the tree, and honest about what it requires."""

import ast
import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PACKAGES = ("environments", "rl_baselines", "state_representation")
# Required though no module of ours names them: other libraries load them.
LOADED_BY_OTHERS = {"tensorboard"}


def declared(constant: str) -> ast.expr:
    """Return the literal that setup.py assigns to a name."""
    for statement in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == constant:
            return statement.value
    raise AssertionError(f"setup.py assigns no {constant}")


def distribution(requirement: str) -> str:
    """Return the normalized name of the distribution that a requirement or a distribution's own name means."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def third_party_imports() -> tuple[dict[str, str], dict[str, str]]:
    """Return the foreign packages imported by our modules on import and inside functions, each with one place."""
    on_import: dict[str, str] = {}
    in_functions: dict[str, str] = {}
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        deferred = {id(node) for function in functions for node in ast.walk(function)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            else:
                continue
            for name in {name.split(".")[0] for name in names} - set(PACKAGES) - sys.stdlib_module_names:
                (in_functions if id(node) in deferred else on_import)[name] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return on_import, in_functions


@functools.cache
def installed_packages() -> Mapping[str, list[str]]:
    """Return the distributions that provide each installed import package."""
    return packages_distributions()


def distributions_of(package: str) -> set[str]:
    """Return the normalized names of the installed distributions that provide an import package."""
    return {distribution(name) for name in installed_packages().get(package, [])} or {distribution(package)}


def test_every_import_is_declared() -> None:
    """What is imported with our modules is a plain requirement; what a function imports may come with an extra."""
    required = {distribution(entry) for entry in ast.literal_eval(declared("INSTALL_REQUIRES"))}
    extras = ast.literal_eval(declared("EXTRAS_REQUIRE"))
    optional = {distribution(entry) for extra in extras.values() for entry in extra}
    on_import, in_functions = third_party_imports()
    undeclared = {name: where for name, where in on_import.items() if not distributions_of(name) & required}
    undeclared |= {
        name: where for name, where in in_functions.items() if not distributions_of(name) & (required | optional)
    }
    assert undeclared == {}


def test_nothing_is_required_without_need() -> None:
    """Each plain requirement is imported somewhere by our modules, or is known to be loaded by another library."""
    required = {distribution(entry) for entry in ast.literal_eval(declared("INSTALL_REQUIRES"))}
    on_import, in_functions = third_party_imports()
    used = {name for package in on_import | in_functions for name in distributions_of(package)}
    assert required - used - LOADED_BY_OTHERS == set()


def test_every_requirement_is_pinned_within_its_range() -> None:
    """constraints.txt pins one tested version for each requirement of setup.py, the extras' included."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    extras = ast.literal_eval(declared("EXTRAS_REQUIRE"))
    entries = [*ast.literal_eval(declared("INSTALL_REQUIRES")), *itertools.chain(*extras.values())]
    for requirement in map(Requirement, entries):
        pin = pins.get(distribution(requirement.name))
        assert pin is not None, f"{requirement} has no pin"
        assert requirement.specifier.contains(pin), f"{requirement} does not admit the pin {pin}"


def run(*command: str | Path, folder: Path, timeout_s: float = 120) -> str:
    """Run a command that must succeed, without the variables that tell Python where to look, and return its output."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=inherited, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_module_imports_without_extras() -> None:
    """Every module imports, and our environments are registered, where no extra is installed."""
    code = f"""
import importlib, pkgutil, sys
for name in ("visdom", "mujoco", "Box2D", "panda_gym", "pybullet_envs_gymnasium", "wandb", "pytest"):
    sys.modules[name] = None
for name in {PACKAGES}:
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        importlib.import_module(module.name)
import gymnasium
print(sorted({{"KukaButtonGymEnv-v0", "MobileRobotGymEnv-v0"}} - set(gymnasium.registry)))
"""
    assert run(sys.executable, "-c", code, folder=ROOT).splitlines()[-1] == "[]"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the tree, built by way of a source distribution, offline."""
    folder = tmp_path_factory.mktemp("build")
    ignored = shutil.ignore_patterns(".*", "logs", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "tree", ignore=ignored)
    build = "from setuptools.build_meta import build_sdist; build_sdist('..')"
    run(sys.executable, "-c", build, folder=folder / "tree")
    (source,) = folder.glob("*.tar.gz")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, source, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment that has the wheel, and sees the other packages of the present one."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "venv", symlinks=True)
    pip = (sys.executable, "-m", "pip", "--python", folder / "venv/bin/python", "install", "--no-deps", "--no-index")
    run(*pip, wheel, folder=folder)
    (packages,) = folder.glob("venv/lib/python*/site-packages")
    # A folder named in a .pth file is searched, its own .pth files are not read: an editable install stays hidden.
    outer = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "outer.pth").write_text("\n".join(sorted(outer)) + "\n", encoding="utf-8")
    return folder / "venv" / "bin"


def test_wheel_holds_code_and_data(wheel: Path) -> None:
    """Every module, preset and asset of the three packages is in the wheel, the tests are not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    suffixes = {".py", ".yaml", ".urdf", ".sdf", ".obj", ".mtl", ".stl", ".png", ".typed"}
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.suffix in suffixes]
    expected = {str(path.relative_to(ROOT)) for path in files}
    assert {"rl_baselines/presets/kuka_button_ppo.yaml", "environments/assets/button.urdf"} <= expected
    assert expected - names == set()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)


@pytest.mark.slow
def test_installed_command_trains_with_a_shipped_preset(programs: Path, tmp_path: Path) -> None:
    """From another folder, the installed command trains and leaves a complete checkpoint."""
    where = "import rl_baselines, environments; print(rl_baselines.__file__, environments.__file__, sep='\\n')"
    places = run(programs / "python", "-c", where, folder=tmp_path).splitlines()[-2:]
    assert [Path(place).is_relative_to(programs.parent) for place in places] == [True, True]

    flags = ("--config", "kuka_button_ppo", "--num-timesteps", "2048", "--log-dir", tmp_path / "runs")
    run(programs / "rl-baselines", "train", *flags, folder=tmp_path, timeout_s=240)
    (folder,) = (tmp_path / "runs").glob("KukaButtonGymEnv-v0/*/ppo/*")
    manifest = json.loads((folder / "last" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["timesteps"] >= 2048
    sizes = {name: entry["size"] for name, entry in manifest["files"].items()}
    assert "model.zip" in sizes
    assert {name: (folder / "last" / name).stat().st_size for name in sizes} == sizes
