"""Where numbers come from."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def provenance(device: torch.device) -> dict[str, Any]:
    """Where numbers come from: code, packages, machine and time."""
    packages = ["torch", "torchvision", "numpy", "scikit-learn", "hydra-core"]
    commit = _git("rev-parse", "HEAD")
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "dirty": bool(_git("status", "--porcelain", "--", ":/alkbald", ":/configs", ":/scripts", ":/run.py"))
        if commit
        else None,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),  # the instructions that PyTorch's own kernels use
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def write_provenance(folder: Path, source: dict[str, Any]) -> None:
    """FOLDER/provenance.json, for results that are made in one go (a run has an entry a start: `records.run`).

    Args:
        folder: of the results.
        source: the `provenance` at the start.
    """
    (folder / "provenance.json").write_text(json.dumps(source, indent=1) + "\n")


def _processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*command: str) -> str | None:
    """What git says of the code that runs; None where it is not in a checkout."""
    folder = Path(__file__).parent
    try:
        answer = subprocess.run(["git", "-C", folder, *command], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
