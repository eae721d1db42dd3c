"""What studies ask of training: data, the model of a round, its predictions. Axes: N points, K samples, C classes.

A study takes the settings of a run. The model of a round follows from them, from the number of the round and from what
is labelled: it is the model that the run had.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from jaxtyping import Float
from omegaconf import OmegaConf
from torch import Tensor

from alkbald import loop
from alkbald.data import Data, load
from alkbald.devices import prepared_device
from alkbald.errors import UserError
from alkbald.evaluation import Evaluation
from alkbald.posteriors import Posterior
from alkbald.recording import recorded_positions
from alkbald.records.files import read_record
from alkbald.records.provenance import provenance, write_provenance
from alkbald.settings import Settings, from_record


def load_data(settings: Settings) -> Data:
    """The data of a run on its device. Sets the number of threads too: numbers depend on it."""
    device = prepared_device(settings.device, precision=settings.precision, threads=settings.threads)
    return load(**vars(settings.data), device=device)


def trained_model(settings: Settings, data: Data, labelled: list[int], number: int = 0) -> Posterior:
    """The model of a round.

    Args:
        labelled: pool positions.
        number: of the round.
    """
    bar = loop.progress_bar(settings, f"{len(labelled)} labels")
    model, _ = loop.train(settings, data, labelled, number, partial(bar, unit="epoch"))
    return model


def pool_log_probs(
    settings: Settings, data: Data, model: Posterior, positions: Tensor | slice = slice(None), number: int = 0
) -> Float[Tensor, "N K C"]:
    """What the model of a round predicts for these positions of the pool, or for all of it; K is `num_samples`."""
    bar = partial(loop.progress_bar(settings, "predictions"), unit="chunk")
    return loop.score(settings, model, data.pool_inputs[positions], number=number, progress=bar)


def evaluation_on_test_set(settings: Settings, data: Data, model: Posterior, number: int = 0) -> Evaluation:
    """How good the model of a round is on the test set.

    Raises:
        TrainingDiverged: its predictions are not finite.
    """
    return loop.evaluated(settings, model, data, number)


def log_probs_of_round(
    settings: Settings, data: Data, number: int, labelled: list[int], points: int | None = None
) -> Float[Tensor, "N K C"]:
    """What the model of a round, trained again, predicts for the points that are not labelled.

    Args:
        number: of the round.
        labelled: pool positions.
        points: so many of them, drawn at random; None: all.
    """
    settings = replace(settings, pool_sample=points)
    candidates = loop.acquirable(settings, len(data.pool_labels), labelled, number)
    return pool_log_probs(settings, data, trained_model(settings, data, labelled, number), candidates, number)


def recorded_run(folder: Path, data_root: str) -> tuple[Settings, Data]:
    """The settings of a run on record, and its data.

    Args:
        folder: of the run.
        data_root: folder of downloads.

    Raises:
        UserError: the folder is no run.
    """
    if not (folder / "rounds.csv").exists():
        raise UserError(f"{folder} is no run: it has no rounds.csv")
    settings = from_record(folder)
    settings = replace(settings, data=replace(settings.data, root=data_root))
    return settings, load_data(settings)


def labelled_at(folder: Path, data: Data, number_of_labels: int) -> tuple[int, list[int]]:
    """The number of the round of a run that had so many labels, and their pool positions.

    Raises:
        UserError: no round had, or the data are not those of the run.
    """
    rounds, acquired, _ = read_record(folder)
    sizes = [int(row["labelled"]) for row in rounds]
    if number_of_labels not in sizes:
        raise UserError(f"{folder} has no round with {number_of_labels} labels, but {', '.join(map(str, sizes))}")
    positions = recorded_positions(folder, rounds, acquired, data)
    return sizes.index(number_of_labels), data.initial + positions[: number_of_labels - len(data.initial)]


def write_source(folder: Path, settings: Settings, data: Data) -> None:
    """FOLDER/settings.yaml and FOLDER/provenance.json: where the numbers of a study come from."""
    OmegaConf.save(OmegaConf.structured(settings), folder / "settings.yaml")
    write_provenance(folder, provenance(data.pool_inputs.device))
