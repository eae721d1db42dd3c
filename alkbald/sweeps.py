"""Sweeps: what Hydra's multirun lacks. A run that fails is told at once, stops no other, and is named at the end."""

import atexit
import json
import shutil
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from alkbald.errors import told


def job_number() -> int | None:
    """Place of this run in its sweep, from 0; None outside a sweep."""
    hydra = HydraConfig.get()
    return int(hydra.job.num) if hydra.mode == RunMode.MULTIRUN else None


class Sweep(Callback):
    """Hydra's callback. Runs may be other processes, on other machines that share the output folder: those that fail
    leave a file there that says why, and the command that started the sweep reads it.
    """

    def __init__(self) -> None:
        self._failures: Path | None = None
        self._watcher: _Watcher | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_failures": self._failures, "_watcher": None}  # what a run's process gets

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            folder = Path(config.out).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            self._failures = Path(tempfile.mkdtemp(prefix=".sweep-", dir=folder))
        except (OSError, TypeError) as error:
            print(f"error: out={config.out}: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        atexit.register(shutil.rmtree, self._failures, ignore_errors=True)
        self._watcher = _Watcher(self._failures)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if self._failures is None or job_return.status != JobStatus.FAILED:
            return
        error = job_return._return_value
        reason = told(error) or "".join(traceback.format_exception(error)).rstrip()
        path = self._failures / f"{config.hydra.job.num}.json"
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps({"overrides": " ".join(job_return.overrides), "reason": reason}))
        aside.replace(path)
        # Told of: else Hydra would end the sweep with the first error. (Could it not be written, Hydra does.)
        job_return.return_value, job_return.status = None, JobStatus.COMPLETED

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if failures := self._watcher.stop():
            print(f"{len(failures)} {'run' if len(failures) == 1 else 'runs'} failed:", file=sys.stderr)
            for failure in failures:
                print(f"  {failure['overrides']}: {failure['reason'].splitlines()[-1]}", file=sys.stderr)
            print("the same command does only what is missing", file=sys.stderr)
            raise SystemExit(1)


class _Watcher:
    """Tells failures as they come."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._failures: dict[Path, dict[str, str]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(0.5):
            self._tell()

    def _tell(self) -> None:
        for path in sorted(set(self._folder.glob("*.json")) - self._failures.keys()):
            self._failures[path] = failure = json.loads(path.read_text())
            print(f"failed: {failure['overrides']}: {failure['reason']}", file=sys.stderr, flush=True)

    def stop(self) -> list[dict[str, str]]:
        """All failures."""
        self._end.set()
        self._thread.join()
        self._tell()
        return list(self._failures.values())
