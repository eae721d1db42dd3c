"""One active-learning run, or a sweep: python run.py method=2bald acq_size=10. Settings: configs/config.yaml."""

import signal

# Held back until `errors_in_one_line` can tell of them.
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
from contextlib import nullcontext

import hydra
from omegaconf import DictConfig

from alkbald.cli import errors_in_one_line, held_signals, job_number

_INTERRUPTED = "interrupted; the same command goes on after the last complete round"


@hydra.main(version_base="1.3", config_path="configs", config_name="config")
def main(config: DictConfig) -> None:
    job = job_number()
    with (
        errors_in_one_line(interrupted=_INTERRUPTED) if job is None else nullcontext()
    ):  # of a sweep's errors, alkbald.cli.Sweep tells
        with held_signals():  # PyTorch takes seconds to import
            from alkbald import loop, settings
        loop.run(settings.from_config(config), job=job or 0)


if __name__ == "__main__":
    with errors_in_one_line(interrupted=_INTERRUPTED):
        main()
