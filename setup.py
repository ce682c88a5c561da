"""Packaging of rl-baselines: what is installed, what it requires and which extras there are.

The ranges are what the code is written for; ``constraints.txt`` holds the exact versions that it is tested with.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

INSTALL_REQUIRES = [
    "cmaes>=0.13.1,<0.14",  # `cma_es` saves and restores the state of its searches, which has no other interface
    "gymnasium>=1.2,<2",
    "imageio-ffmpeg>=0.5",
    "matplotlib>=3.9",
    "numpy>=2.0,<3",
    "pandas>=2.2.2",
    "pillow>=10.0",
    "pybullet>=3.2.7",
    "pyyaml>=6.0.1",
    "rich>=13.9",
    "safetensors>=0.5",
    "sb3-contrib>=2.9,<3",
    "scipy>=1.13",
    "stable-baselines3>=2.9,<3",
    "tensorboard>=2.17",  # Stable-Baselines3 writes event files only where it is installed
    "torch>=2.8,<3",
    "tyro>=1.0.14,<2",
]

EXTRAS_REQUIRE = {
    "vis": ["tornado>=6.4", "visdom>=0.2.4,<0.3"],
    "minari": ["h5py>=3.10", "minari[hdf5]>=0.5.4,<0.6"],
    "wandb": ["wandb>=0.28.2,<1"],
    "mujoco": ["gymnasium[mujoco]"],
    "box2d": ["gymnasium[box2d]"],
    "panda": ["panda-gym>=3.0.7"],
    "bullet-locomotion": ["pybullet-envs-gymnasium>=0.6"],
    "test": [
        "mypy>=2.4",
        "pandas-stubs>=2.2",
        "pytest>=9.0",
        "pytest-timeout>=2.4",
        "pytest-xdist>=3.8",
        "ruff>=0.17",
        "types-PyYAML>=6.0",
    ],
}
EVERY_EXTRA = sorted({entry for name, extra in EXTRAS_REQUIRE.items() if name != "test" for entry in extra})


def version() -> str:
    """Return the version that the package states, read without importing it."""
    source = (HERE / "rl_baselines" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if found is None:
        raise RuntimeError('rl_baselines/__init__.py has no line of the form __version__ = "1.2.3"')
    return found.group(1)


def long_description() -> str:
    """Return the text of the README."""
    return (HERE / "README.md").read_text(encoding="utf-8")


setup(
    name="rl-baselines",
    version=version(),
    description="Train, fine-tune and compare Stable-Baselines3 policies for robots in PyBullet",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["rl_baselines*", "environments*", "state_representation*"]),
    package_data={"environments": ["assets/*"], "rl_baselines": ["presets/*.yaml", "live/page/*"]},
    install_requires=INSTALL_REQUIRES,
    extras_require={**EXTRAS_REQUIRE, "all": EVERY_EXTRA},
    entry_points={"console_scripts": ["rl-baselines = rl_baselines.__main__:main"]},
)
