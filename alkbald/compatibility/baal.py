"""A heuristic for the active-learning loop of baal. Axes: N pool points, C classes, K iterations (samples)."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.compatibility.methods import method_of_fixed_size
from alkbald.information import mutual_information

try:
    from baal.active.heuristics import AbstractHeuristic
except ModuleNotFoundError as error:
    raise ImportError(f"alkbald.compatibility.baal needs {error.name}: pip install 'alkbald[doors]'") from None


#: Points at a time, where each is looked at by itself.
_PART = 1024


class BatchHeuristic(AbstractHeuristic):
    """Ranks the batch of an acquisition method first, in the order of acquisition, and then the other points by BALD.

    Args:
        method: a name in `acquisition.METHODS` of a method that does not choose the size of its batch.
        query_size: B, as the loop's; the whole pool, if that is smaller.
        seed: of what the method draws; each batch draws anew.
        options: the settings of the method.

    Raises:
        ValueError: an unknown method, or one that chooses the size of its batch.
    """

    def __init__(self, method: str, query_size: int, *, seed: int = 0, **options: Any):
        super().__init__(reverse=True)
        self._name, self._method = method, method_of_fixed_size(method)
        self._query_size = query_size
        self._generator = Generator().manual_seed(seed)
        self._options = options

    def compute_score(
        self, predictions: np.ndarray | list[np.ndarray], target_predictions: np.ndarray | None = None
    ) -> np.ndarray:
        r"""Scores [N] whose descending order is the ranking: B for the first pick, down to 1 for the last.

        The other points have less than 1: their mutual information :math:`I[Y_n; \Omega]`, divided by 1 + log C.

        Args:
            predictions: [N, C, K], probabilities or logits. As everywhere in baal, they count as logits unless all are
                in [0, 1] and sum to 1 over C. A list of one such array is taken as it.
            target_predictions: [T, C*, K] of the inputs that will have to be predicted, for the method epig alone.
                Iteration k is the pool's. None: points of the pool stand for them.

        Raises:
            ValueError: several outputs, other axes, one class, target predictions of another method, or as of the
                method.
        """
        options = self._options
        if target_predictions is not None:
            if self._name != "epig":
                raise ValueError(f"target_predictions are of no use to {self._name}: leave them out")
            options = options | {"target_log_probs": _log_probs(target_predictions)}
        log_probs = _log_probs(predictions)
        size = min(self._query_size, len(log_probs))
        batch = self._method(log_probs, size, generator=self._generator, **options)
        information = torch.cat([mutual_information(part) for part in log_probs.split(_PART)])
        scores = information.double().numpy() / (1 + math.log(log_probs.shape[-1]))
        scores[batch.indices] = np.arange(size, 0, -1)
        return scores

    def get_uncertainties_generator(self, predictions: Iterable, target_predictions: np.ndarray | None = None) -> None:
        """A batch needs the whole pool.

        Raises:
            ValueError: always.
        """
        raise ValueError("a batch is chosen from the whole pool: pass one array, not a generator of parts")


def _log_probs(predictions: np.ndarray | list[np.ndarray]) -> Float[Tensor, "N K C"]:
    """Of baal's predictions [N, C, K]."""
    if isinstance(predictions, (list, tuple)):
        if len(predictions) != 1:
            raise ValueError(f"predictions of one output are needed, got those of {len(predictions)}")
        predictions = predictions[0]
    if predictions.ndim != 3 or predictions.shape[1] < 2:
        raise ValueError(f"predictions must have axes [N, C, K] with C at least 2, got shape {predictions.shape}")
    values = torch.from_numpy(np.array(predictions.swapaxes(1, 2), order="C"))
    rounding = 1e-5
    if values.dtype == torch.float16:
        values, rounding = values.float(), 2e-3
    in_range = len(values) and values.min() >= 0 and values.max() <= 1
    if in_range and (values.sum(1) - 1).abs().max() < rounding <= (values.sum(-1) - 1).abs().max():
        raise ValueError(
            f"predictions must have axes [N, C, K], and these of shape {predictions.shape} sum to one over the last: "
            "pass predictions.transpose(0, 2, 1)"
        )
    if in_range and (values.sum(-1) - 1).abs().max() < rounding:
        return values.div_(values.sum(-1, keepdim=True)).log_()
    return values.log_softmax(-1)
