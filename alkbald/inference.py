"""Predictions of a posterior by the names that users know: a function beside the method `Posterior.log_probs`."""

from collections.abc import Callable, Iterable

from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.evaluation import evaluate
from alkbald.posteriors.base import PRECISIONS, Posterior

__all__ = ["PRECISIONS", "evaluate", "sample_log_probs"]


def sample_log_probs(
    model: Posterior,
    inputs: Float[Tensor, "N ..."],
    num_samples: int,
    *,
    generator: Generator,
    precision: str = "fp32",
    memory_budget: int | None = None,
    progress: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter,
) -> Float[Tensor, "N K C"]:
    """See `Posterior.log_probs`, which has the same arguments, result and errors."""
    return model.log_probs(
        inputs,
        num_samples,
        generator=generator,
        precision=precision,
        memory_budget=memory_budget,
        progress=progress,
    )
