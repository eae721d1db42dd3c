"""Another checkout of this project, in the same process."""

import importlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace


def package(folder: Path, names: Sequence[str]) -> SimpleNamespace:
    """Some modules of the `alkbald` of another checkout, by their names; the modules of ours are put back.

    Raises:
        ModuleNotFoundError: it has none of these names.
    """
    ours = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] == "alkbald"}
    sys.path.insert(0, str(folder))
    try:
        return SimpleNamespace(**{name: importlib.import_module(f"alkbald.{name}") for name in names})
    finally:
        sys.path.pop(0)
        for name in [name for name in sys.modules if name.partition(".")[0] == "alkbald"]:
            del sys.modules[name]
        sys.modules.update(ours)


def commit_of(folder: Path) -> str:
    """The first digits of a checkout's commit."""
    found = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return found.stdout[:12]
