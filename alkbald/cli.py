"""The command line: errors in one line, signals, and what Hydra's multirun lacks.

A run of a sweep that fails is told at once, stops no other, and is named at the end.
"""

import alkbald.needs_experiments  # noqa: F401 (says what is missing)

# isort: split
import atexit
import difflib
import json
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from alkbald import progress
from alkbald.errors import UserError

#: Packages that read the command line, the configuration files and the launchers' settings.
_CONFIGURATION = ("hydra", "hydra_plugins", "omegaconf", "antlr4", "yaml", "joblib", "submitit")
_WANTS_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"


@contextmanager
def errors_in_one_line(*, interrupted: str = "interrupted") -> Iterator[None]:
    """Turns errors that a user can mend into one line on stderr and exit code 2. HYDRA_FULL_ERROR=1 shows tracebacks.
    An interruption ends with the line `interrupted` and the exit code of its signal.

    Meant for both sides of `hydra.main`: outside it for errors of composition, inside it for the rest, since Hydra adds
    lines of its own to an error that passes through. Lets signals through that a program has held back till here.
    """
    if not _WANTS_TRACEBACKS:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints a composition error itself, over many lines
    interrupts: list[int] = []
    try:
        with _recorded_interrupts(interrupts):
            yield
    except (Exception, KeyboardInterrupt) as error:
        if interrupts:  # whatever the interrupt has become, amid an import say
            code = 128 + interrupts[0]  # as shells have it
            _end(interrupted, code, kind="")
        if _WANTS_TRACEBACKS or (line := line_for_user(error)) is None:
            raise
        _end(line, 2)


@contextmanager
def held_signals() -> Iterator[None]:
    """SIGINT and SIGTERM wait till the end: an exception amid the import of a C++ extension can abort the process."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _recorded_interrupts(interrupts: list[int]) -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt, and are noted."""

    def handle(number: int, _frame: FrameType | None) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # the others get no signals
        yield
        return
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.signal(number, handle) for number in numbers]
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def line_for_user(error: BaseException) -> str | None:
    """The line that tells a user what is wrong; None for an error that only a programmer can mend."""
    if isinstance(error, (UserError, HydraException, OmegaConfBaseException)):
        return configuration_line(error)
    if _raised_in_hydra(error):  # a ValueError for data=null, a TypeError for method=[0]
        return f"the command line or a configuration file is wrong: {configuration_line(error)}"
    if isinstance(error, OSError):
        return " ".join(str(error).split())
    if isinstance(error, (MemoryError, RuntimeError)):
        if isinstance(error, MemoryError) or "alloc" in str(error) or "out of memory" in str(error):
            reason = f"{' '.join(str(error).split()):.200}"
            return (
                f"out of memory; num_samples, pool_sample, acq_size and training.* decide how much it takes: {reason}"
            )
        # joblib's and submitit's, whose packages need not be loaded here
        if type(error).__name__ in ("TerminatedWorkerError", "UncompletedJobError", "FailedJobError"):
            return "a process of the sweep was killed; the same command does only what is missing"
    return None


def _raised_in_hydra(error: BaseException) -> bool:
    """Whether it comes from the reading of a configuration."""
    *_, last = traceback.walk_tb(error.__traceback__) if error.__traceback__ else [(None, 0)]
    name = last[0].f_globals.get("__name__", "") if last[0] else ""
    return name.partition(".")[0] in _CONFIGURATION


def _end(message: str, code: int, kind: str = "error: ") -> None:
    print(kind + message, file=sys.stderr)
    raise SystemExit(code) from None


def configuration_line(error: BaseException) -> str:
    """What a user has to know of an error in the configuration, in one line."""
    text = str(error)
    if missing := re.search(r"Could not override '([^']+)'|Key '([^']+)' (?:is )?not in", text):
        return _unknown(missing[1] or getattr(error, "full_key", None) or missing[2])
    if choice := re.search(r"Could not find '([^'/]+)/([^']+)'", text):
        options = re.findall(r"^\t(.+)$", text.partition("Config search path")[0], re.MULTILINE)
        return f"{choice[1]} must be one of {', '.join(options)}, got {choice[2]}"
    cause = error.__cause__ if isinstance(error, HydraException) and error.__cause__ else error
    first, _, _ = str(cause).partition("\n")
    key = getattr(cause, "full_key", None)
    return f"{key}: {first}" if key else " ".join(text.split())


def _unknown(key: str) -> str:
    from alkbald.settings import flat_keys  # here: the settings' types bring PyTorch, which takes seconds to import

    group, _, own = key.partition(".")
    if own and group in ("method", "model", "recorder"):
        return f"unknown setting {key}: the chosen {group} has no such option (see configs/{group}/)"
    close = difflib.get_close_matches(key, flat_keys(), n=1)
    return f"unknown setting {key}; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(flat_keys())}")


def job_number() -> int | None:
    """Place of this run in its sweep, from 0; None outside a sweep."""
    hydra = HydraConfig.get()
    return int(hydra.job.num) if hydra.mode == RunMode.MULTIRUN else None


class Sweep(Callback):
    """Hydra's callback. Runs may be other processes, on other machines that share the output folder: those that end
    leave a file there, those that fail another one that says why, and the command that started the sweep reads them.
    """

    def __init__(self) -> None:
        self._ends: Path | None = None
        self._watcher: _Watcher | None = None
        self._run_begun = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {"_ends": self._ends, "_watcher": None}  # what a run's process gets

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            folder = Path(config.out).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            self._ends = Path(tempfile.mkdtemp(prefix=".sweep-", dir=folder))
        except (OSError, TypeError) as error:
            print(f"error: out={config.out}: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        atexit.register(shutil.rmtree, self._ends, ignore_errors=True)
        same_process = config.hydra.launcher._target_.endswith("BasicLauncher")
        shown = progress.SweepProgress(
            runs_of_sweep(config), beside_bars=same_process, shown=bool(config.get("progress", True))
        )
        self._watcher = _Watcher(self._ends, shown)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        self._run_begun = time.monotonic()
        if self._ends and not self._watcher:  # a process of its own
            progress.silence()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if self._ends is None:
            return
        if job_return.status == JobStatus.FAILED:
            self._leave_reason(self._ends, config, job_return)
        with suppress(OSError):  # a sweep that cannot count its runs goes on
            end = self._ends / f"{config.hydra.job.num}.seconds"
            end.with_suffix(".new-seconds").write_text(str(time.monotonic() - self._run_begun))
            end.with_suffix(".new-seconds").replace(end)

    def _leave_reason(self, folder: Path, config: DictConfig, job_return: JobReturn) -> None:
        error = job_return._return_value
        reason = line_for_user(error) or "".join(traceback.format_exception(error)).rstrip()
        path = folder / f"{config.hydra.job.num}.json"
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps({"overrides": " ".join(job_return.overrides or []), "reason": reason}))
        aside.replace(path)
        # Told of: else Hydra would end the sweep with the first error. (Could it not be written, Hydra does.)
        job_return.return_value, job_return.status = None, JobStatus.COMPLETED

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if self._watcher and (failures := self._watcher.stop()):
            print(f"{len(failures)} {'run' if len(failures) == 1 else 'runs'} failed:", file=sys.stderr)
            for failure in failures:
                print(f"  {failure['overrides']}: {failure['reason'].splitlines()[-1]}", file=sys.stderr)
            print("the same command does only what is missing", file=sys.stderr)
            raise SystemExit(1)


def runs_of_sweep(config: DictConfig) -> int | None:
    """How many runs a sweep has, of its composed configuration; None where Hydra finds that out later: with another
    sweeper than its own, or a glob."""
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith("BasicSweeper"):
        return None
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    overrides = OverridesParser.create().parse_overrides([*params, *config.hydra.overrides.task])
    if any(override.value_type == ValueType.GLOB_CHOICE_SWEEP for override in overrides):
        return None
    swept = {o.get_key_element(): len(list(o.sweep_string_iterator())) for o in overrides if o.is_sweep_override()}
    return math.prod(swept.values())


class _Watcher:
    """Tells failures as they come, and how far the sweep is."""

    def __init__(self, folder: Path, shown: progress.SweepProgress):
        self._folder, self._progress = folder, shown
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
            tqdm.write(f"failed: {failure['overrides']}: {failure['reason']}", file=sys.stderr)
            sys.stderr.flush()
        self._progress.show([float(path.read_text()) for path in self._folder.glob("*.seconds")])

    def stop(self) -> list[dict[str, str]]:
        """All failures."""
        self._end.set()
        self._thread.join()
        self._tell()
        self._progress.close()
        return list(self._failures.values())
