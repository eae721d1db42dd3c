"""Rounds of `python run.py` that benchmarks time. Benchmarks are started in a checkout: they read its configs/."""

import inspect
import math
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from alkbald import settings as present
from alkbald.data import Data

CONFIGS = Path(__file__).parents[2] / "configs"


def run_settings(changes: dict[str, Any], settings: ModuleType = present) -> Any:
    """The settings of `python run.py method=kbald method.order=2 data=mnist` with changes, without a progress bar.

    Args:
        changes: of configs/config.yaml, nested as it is.
        settings: the module `alkbald.settings` of this checkout or of another, whose `Settings` are returned.
    """
    configs = Path(inspect.getfile(settings)).parents[1] / "configs"  # which fit the settings, also another checkout's
    config = cast(DictConfig, OmegaConf.load(configs / "config.yaml"))
    del config["defaults"], config["hydra"]
    chosen = {"method": {"name": "kbald", "order": 2}, "data": {"name": "mnist"}, "progress": False}
    if (model := configs / "model" / "mc_dropout.yaml").exists():  # older checkouts have one model
        chosen["model"] = OmegaConf.load(model)
    if (configs / "recorder").exists():
        chosen["recorder"] = {"name": "none"}
    return settings.from_config(OmegaConf.merge(config, chosen, changes))


def round_table(settings: Any, row: dict[str, Any], data: Data) -> list[dict]:
    """A recorded round, part by part, and its sum: `row` is of the columns of `records.schema.ROUNDS`."""
    validation = len(data.validation_inputs) * settings.training.validation_samples * row["epochs"]
    parts = [
        ("training, without validation", row["seconds_training"] - row["seconds_validation"], 0, ""),
        ("validation", row["seconds_validation"], validation, f"{row['epochs']} epochs"),
        ("evaluation", row["seconds_evaluation"], len(data.test_inputs) * settings.evaluation_samples, ""),
        ("scoring", row["seconds_inference"], row["pool"] * settings.num_samples, ""),
        ("selection, 2-BALD 10", row["seconds_selection"], 0, ""),
        ("judging the batch", row.get("seconds_judging", math.nan), 0, ""),  # of older commits, not on record
    ]
    peak = f"accuracy {row['accuracy']:.4f}; peak {row['peak_memory_bytes'] / 2**30:.2f} GiB"
    total = sum(seconds for _, seconds, _, _ in parts if not math.isnan(seconds))
    return [
        {
            "part": name,
            "seconds": "" if math.isnan(seconds) else f"{seconds:.2f}",
            "passes": f"{passes:,}" if passes else "",
            "passes/s": f"{passes / seconds:,.0f}" if passes else "",
            "note": note,
        }
        for name, seconds, passes, note in [*parts, ("whole", total, 0, peak)]
    ]
