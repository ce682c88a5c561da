"""What decides the last bits of a run besides its settings is described, and changes of it are put in words."""

import importlib.metadata
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rl_baselines import machine
from rl_baselines.machine import PACKAGES, describe_machine, machine_differences, package_versions

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


def test_a_machine_is_described_by_its_processor_threads_and_versions() -> None:
    described = describe_machine(CPU)
    assert list(described) == ["cpu", "device", "torch_threads", "torch_build", "python", *PACKAGES]
    assert described["device"] == "cpu"
    assert described["python"] == platform.python_version()
    assert described["torch_build"].split()[0] == torch.__version__
    assert described["torch_build"].split()[1:] == torch.backends.cpu.get_cpu_capability().split()
    assert {name: described[name] for name in PACKAGES} == package_versions()


def test_the_versions_are_those_that_are_installed() -> None:
    assert package_versions() == {name: importlib.metadata.version(name) for name in PACKAGES}
    assert package_versions()["torch"] == torch.__version__


def test_the_description_follows_the_threads_of_torch() -> None:
    torch.set_num_threads(1)
    one = describe_machine(CPU)
    torch.set_num_threads(2)
    two = describe_machine(CPU)
    assert (one["torch_threads"], two["torch_threads"]) == (1, 2)
    assert machine_differences(one, two) == ["other torch threads: 1 then, 2 now"]


def test_the_processor_is_the_one_that_the_kernel_names() -> None:
    names = [
        line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "name" in line
    ]
    assert describe_machine(CPU)["cpu"] == (names[0] if names else platform.processor() or platform.machine())


def test_without_a_kernel_that_names_it_the_processor_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(path: Path, *_: object, **__: object) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(machine.Path, "read_text", no_file)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "abacus")
    assert describe_machine(CPU)["cpu"] == "abacus"


def test_the_same_machine_has_no_differences() -> None:
    assert machine_differences(describe_machine(CPU), describe_machine(CPU)) == []


def test_differences_are_named_in_words_in_the_order_of_the_description() -> None:
    saved = {"cpu": "A", "torch_threads": 2, "torch": "2.1", "python": "3.11"}
    now = {"cpu": "B", "torch_threads": 1, "torch": "2.1", "python": "3.12"}
    assert machine_differences(saved, now) == [
        "other cpu: A then, B now",
        "other torch threads: 2 then, 1 now",
        "other python: 3.11 then, 3.12 now",
    ]


def test_what_only_one_of_them_tells_is_a_difference() -> None:
    assert machine_differences({"cpu": "A", "old_key": 1}, {"cpu": "A", "new": 2}) == [
        "other old key: 1 then, None now",
        "other new: None then, 2 now",
    ]
