"""The PyBullet module, imported without the banner that it prints in every process.

The rest of the package takes ``pybullet`` from here.
"""

import importlib
import os
import sys
from types import ModuleType

STANDARD_ERROR = 2


def _import_silently(name: str) -> ModuleType:
    """Import a module while standard error leads nowhere, also for C code, which writes past ``sys.stderr``."""
    if name in sys.modules:
        return sys.modules[name]
    sys.stderr.flush()
    saved = os.dup(STANDARD_ERROR)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, STANDARD_ERROR)
    try:
        return importlib.import_module(name)
    finally:
        os.dup2(saved, STANDARD_ERROR)
        os.close(saved)
        os.close(sink)


def has_display() -> bool:
    """Tell whether a window can be opened; PyBullet ends the whole process when it tries in vain."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY"))


pybullet = _import_silently("pybullet")
