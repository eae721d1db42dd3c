"""What became of runs. Its door is `python -m alkbald.status [FOLDER ...]`."""

import argparse
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from alkbald.records.files import is_complete, read_record
from alkbald.records.locks import is_locked


def status(folder: Path) -> dict[str, str]:
    """State and progress of one run.

    The state is `complete`, `running` (a process has its lock), `failed` (with the reason), `partial` (the same command
    goes on) or `damaged` (with the reason).
    """
    row = {"state": "damaged", "rounds": "", "labelled": "", "accuracy": "", "reason": ""}
    try:
        config = OmegaConf.load(folder / "config.yaml")
        rounds = read_record(folder).rounds
        failure = folder / "failure.txt"
        if is_complete(rounds, int(config.max_labels), config.target_accuracy):
            state, reason = "complete", ""
        elif is_locked(folder):
            state, reason = "running", ""
        elif failure.exists():
            state, reason = "failed", failure.read_text()
        else:
            state, reason = "partial", ""
        return {
            "state": state,
            "rounds": str(len(rounds)),
            "labelled": f"{rounds[-1]['labelled'] if rounds else 0} of {config.max_labels}",
            "accuracy": f"{float(rounds[-1]['accuracy']):.4f}" if rounds else "",
            "reason": reason,
        }
    except Exception as error:  # YAML's, OmegaConf's and the file system's errors have no common base
        return row | {"reason": " ".join(str(error).split())}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m alkbald.status", description="A table of runs and their states.")
    parser.add_argument(
        "folders", nargs="*", default=["runs"], help="folders with runs somewhere below (default: runs)"
    )
    folders = [Path(folder) for folder in parser.parse_args().folders]
    paths = [path for folder in folders for path in folder.rglob("config.yaml")]
    found = sorted(path.parent for path in paths if not fnmatch(str(path), "*/wandb/*run-*/files/config.yaml"))
    if not found:
        parser.error(f"no run (config.yaml) below {', '.join(map(str, folders))}")
    table = pd.DataFrame([status(folder) for folder in found], index=[str(folder) for folder in found])
    print(table.to_string())
    print(", ".join(f"{count} {state}" for state, count in table["state"].value_counts().items()))
