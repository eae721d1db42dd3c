"""One active-learning run, or a sweep: python run.py method=2bald acq_size=10. Settings: configs/config.yaml."""

import signal

# Held back until `errors_in_one_line` can tell of them: an interrupt amid an import ends in a long traceback.
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))

from contextlib import nullcontext

import hydra
from omegaconf import DictConfig

from alkbald.errors import errors_in_one_line
from alkbald.sweeps import job_number


@hydra.main(version_base="1.3", config_path="configs", config_name="config")
def main(config: DictConfig) -> None:
    job = job_number()
    with errors_in_one_line() if job is None else nullcontext():  # of a sweep's errors, alkbald.sweeps tells
        from alkbald import loop, settings  # here: PyTorch takes seconds to import, and Ctrl-C may come in the middle

        loop.run(settings.from_config(config), job=job or 0)


if __name__ == "__main__":
    with errors_in_one_line():
        main()
