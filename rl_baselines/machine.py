"""The machine and the libraries that a run's numbers depend on, to the last bit."""

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from rl_baselines.errors import UsageError

PACKAGES = ("stable-baselines3", "sb3-contrib", "gymnasium", "pybullet", "torch", "numpy")


def package_versions() -> dict[str, str]:
    """Give the versions of the libraries that compute."""
    return {package: metadata.version(package) for package in PACKAGES}


def find_device(name: str) -> torch.device:
    """Give the device of a name.

    :param name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; auto is the first GPU where there is one
    :raises UsageError: when it is not there
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.zeros(1, device=device)
    except (AssertionError, RuntimeError) as error:
        raise UsageError(f"--device {name} cannot be used: {str(error).splitlines()[0]}") from None
    return device


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Give what decides the last bits of a run besides its configuration and seed.

    :param device: of the model
    """
    return {
        "cpu": _cpu_model(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch_threads": torch.get_num_threads(),
        "torch_build": f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()}",
        "python": platform.python_version(),
        **package_versions(),
    }


def _cpu_model() -> str:
    """Name the processor; the kernel knows it better than `platform`, where there is one to ask."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine_differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name in words what is not as it was when a checkpoint was saved, of the machine or of the physics."""
    names = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
    return [f"other {name.replace('_', ' ')}: {saved.get(name)} then, {now.get(name)} now" for name in names]
