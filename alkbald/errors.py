"""Errors that a user can mend, each told in one line."""

import difflib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException


class UserError(Exception):
    """Something outside the code is wrong; the message says what, and what to do."""


class SettingsError(UserError):
    """A setting has a value that no run can have."""


class DataError(UserError):
    """Data are missing, damaged, or too few for what is asked."""


class RecordError(UserError):
    """A run's folder cannot be written, or what is in it does not fit."""


class TrainingDiverged(UserError):
    """The loss is not finite any more."""


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
        with _noted(interrupts):
            yield
    except (Exception, KeyboardInterrupt) as error:
        if interrupts:  # whatever the interrupt has become, amid an import say
            code = 128 + interrupts[0]  # as shells have it
            _end(interrupted, code, kind="")
        if _WANTS_TRACEBACKS or (line := told(error)) is None:
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
def _noted(interrupts: list[int]) -> Iterator[None]:
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


def told(error: Exception) -> str | None:
    """The line that tells a user of an error; None for one that only a programmer can mend."""
    if isinstance(error, (UserError, HydraException, OmegaConfBaseException)):
        return one_line(error)
    if _raised_in_hydra(error):  # a ValueError for data=null, a TypeError for method=[0]
        return f"the command line or a configuration file is wrong: {one_line(error)}"
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


def _raised_in_hydra(error: Exception) -> bool:
    """Whether it comes from the reading of a configuration."""
    *_, last = traceback.walk_tb(error.__traceback__) if error.__traceback__ else [(None, 0)]
    name = last[0].f_globals.get("__name__", "") if last[0] else ""
    return name.partition(".")[0] in _CONFIGURATION


def _end(message: str, code: int, kind: str = "error: ") -> None:
    print(kind + message, file=sys.stderr)
    raise SystemExit(code) from None


def one_line(error: Exception) -> str:
    """What a user has to know of an error of the configuration, in one line."""
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

    if key.startswith("method."):
        return f"unknown setting {key}: the chosen method has no such option (see configs/method/)"
    close = difflib.get_close_matches(key, flat_keys(), n=1)
    return f"unknown setting {key}; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(flat_keys())}")
