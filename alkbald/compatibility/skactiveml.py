"""A query strategy of scikit-activeml. Axes: N candidates, K members of the committee, C classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.compatibility.methods import method_of_fixed_size
from alkbald.information import mutual_information
from alkbald.information.particles import ChildParticles, OutcomeParticles
from alkbald.information.probabilities import TINY, entropy

try:
    from skactiveml.base import SingleAnnotatorPoolQueryStrategy, SkactivemlClassifier
    from skactiveml.utils import MISSING_LABEL
    from sklearn.base import clone
except ModuleNotFoundError as error:
    raise ImportError(f"alkbald.compatibility.skactiveml needs {error.name}: pip install 'alkbald[doors]'") from None


class BatchQuery(SingleAnnotatorPoolQueryStrategy):
    """Queries the batch of an acquisition method, from the predictions of a committee.

    Args:
        method: a name in `acquisition.METHODS` of a method that does not choose the size of its batch.
        options: the settings of the method; None: its own defaults.
        sample_predictions_method_name: the method of the ensemble that gives predictions [K, N, C]; None: `estimators_`
            of the fitted ensemble are the committee.
        sample_predictions_dict: keyword arguments of that method.
        missing_label: stands for a label that is not known.
        random_state: of what the acquisition method draws.
    """

    def __init__(
        self,
        method: str = "batchbald",
        options: dict[str, Any] | None = None,
        sample_predictions_method_name: str | None = None,
        sample_predictions_dict: dict[str, Any] | None = None,
        missing_label: Any = MISSING_LABEL,
        random_state: int | np.random.RandomState | None = None,
    ):
        super().__init__(missing_label=missing_label, random_state=random_state)
        self.method = method
        self.options = options
        self.sample_predictions_method_name = sample_predictions_method_name
        self.sample_predictions_dict = sample_predictions_dict

    def query(
        self,
        X: Any,
        y: Any,
        ensemble: SkactivemlClassifier | Sequence[SkactivemlClassifier],
        fit_ensemble: bool = True,
        sample_weight: Any = None,
        candidates: Any = None,
        batch_size: int = 1,
        return_utilities: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Which candidates to label, in the order of acquisition. Of equal scores, the lowest index comes first.

        Args:
            X, y: the data, with `missing_label` for what is not labelled.
            ensemble: the committee: a list of classifiers of the same classes, or one classifier (see the class).
            fit_ensemble: whether copies of it are fitted to the labelled data first.
            sample_weight: of the fit.
            candidates: None: what is not labelled; indices of X; or candidates themselves.
            batch_size: B; all candidates, with a warning, if there are fewer.
            return_utilities: whether to return utilities too: of the methods bald and batchbald alone, since the others
                do not value every candidate at every pick.

        Returns:
            Indices [B] into X, or into candidates if these are given themselves. Utilities [B, len(X)], or
            [B, N] if candidates are given themselves: before pick i, what bald or batchbald says of each candidate, in
            nats (of batchbald, the joint mutual information of the picks and the candidate; an estimate apart from the
            selection's own where the picks have more than `max_particles` outcomes). NaN for what is picked already, or
            no candidate.

        Raises:
            ValueError: as of the acquisition method; utilities of a method that has none; a committee whose members
                know different classes.
        """
        X, y, candidates, batch_size, return_utilities = self._validate_data(
            X, y, candidates, batch_size, return_utilities, reset=True
        )
        method = method_of_fixed_size(self.method)
        if return_utilities and self.method not in ("bald", "batchbald"):
            raise ValueError(f"the methods bald and batchbald have utilities of all candidates, {self.method} has not")
        inputs, positions = self._transform_candidates(candidates, X, y)  # no positions if they are no points of X
        committee = _fitted(ensemble, X, y, sample_weight) if fit_ensemble else ensemble
        log_probs = torch.from_numpy(self._probabilities(committee, inputs)).transpose(0, 1).log().contiguous()
        options = self.options or {}
        generator = Generator().manual_seed(int(self.random_state_.randint(2**31)))
        batch = method(log_probs, batch_size, generator=generator, **options)
        num_points, positions = (len(inputs), np.arange(len(inputs))) if positions is None else (len(X), positions)
        indices = positions[batch.indices]
        if not return_utilities:
            return indices
        utilities = np.full((batch_size, num_points), np.nan)
        utilities[:, positions] = _utilities(self.method, log_probs, batch.indices, **options).numpy()
        return indices, utilities

    def _probabilities(self, committee: Any, inputs: np.ndarray) -> Float[np.ndarray, "K N C"]:
        """Of the candidates, under each member of a fitted committee."""
        if isinstance(committee, SkactivemlClassifier) and self.sample_predictions_method_name is not None:
            sample = getattr(committee, self.sample_predictions_method_name)
            return np.array(sample(inputs, **(self.sample_predictions_dict or {})))
        members = committee.estimators_ if isinstance(committee, SkactivemlClassifier) else committee
        if any(not np.array_equal(member.classes_, members[0].classes_) for member in members):
            raise ValueError("the members of the ensemble know different classes: set `classes` of each")
        return np.stack([member.predict_proba(inputs) for member in members])


def _fitted(ensemble: Any, X: np.ndarray, y: np.ndarray, sample_weight: Any) -> Any:
    """Fitted copies of the members, or of the one classifier."""
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    if isinstance(ensemble, SkactivemlClassifier):
        return clone(ensemble).fit(X, y, **weights)
    return [clone(member).fit(X, y, **weights) for member in ensemble]


def _utilities(
    method: str, log_probs: Float[Tensor, "N K C"], picks: list[int], *, max_particles: int = 10_000, **_other: Any
) -> Float[Tensor, "B N"]:
    """What bald or batchbald says of every candidate before each pick; NaN for what is picked already.

    Args:
        method: bald or batchbald.
        log_probs: of the candidates.
        picks: in the order of acquisition.
        max_particles: of batchbald.
    """
    utilities = mutual_information(log_probs).double().repeat(len(picks), 1)
    if method == "batchbald":
        probs = log_probs.exp().clamp_min(TINY).transpose(0, 1)
        given_sample = entropy(probs)  # [K, N], H[Y_n | omega_k]
        particles = OutcomeParticles.prior(len(probs), probs)
        worth, generator = 0.0, Generator().manual_seed(0)
        for i, pick in enumerate(picks):
            gains = particles.predictive_entropy(probs) - particles.mean_posterior @ given_sample.double()
            utilities[i] = worth + gains
            children = ChildParticles(particles, probs[:, pick])
            worth = children.mutual_information()
            particles = children.reduced(max_particles, generator)
    for i in range(len(picks)):
        utilities[i, picks[:i]] = torch.nan
    return utilities
