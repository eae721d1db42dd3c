"""Batch sizes and orders that are chosen in the round, by the approximation's own quality.

The paper proposes both and builds neither. [Kirsch2023, sections 2 and 4]

[Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations.
"""

import math
import time
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.acquisition.batch import Batch, tie_margin
from alkbald.acquisition.kbald import check_tables, kbald, kbald_scores, table_rows
from alkbald.acquisition.pool import checked_budget
from alkbald.acquisition.predictions import AnyPredictions, pool_predictions
from alkbald.errors import TablesTooLarge
from alkbald.information import joint_mutual_information_of_prefixes

#: Of 3-BALD from 2-BALD, relative to the score.
_DIVERGENCE = 0.3


def dynamic_bald(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    min_size: int = 1,
    divergence: float | None = _DIVERGENCE,
    non_positive: bool = True,
    share_of_log_k: float | None = 0.95,
    generator: Generator | None = None,
    memory_budget: int | None = None,
    device: torch.device | None = None,
) -> Batch:
    r"""2-BALD's batch, ended where the first criterion says that it is no longer to be trusted. [Kirsch2023, section 2]

    With :math:`a_k(b)` the k-BALD score of the first b picks and :math:`I(b)` their joint mutual information, the batch
    ends

    - `divergence`: before the first b with :math:`|a_3(b) - a_2(b)| > \text{divergence} \cdot |a_2(b)|`;
    - `non_positive`: before the first b with :math:`a_2(b) \le a_2(b - 1)`;
    - `share_of_log_k`: with the first b with :math:`I(b) \ge \text{share} \cdot \log K` (not at K = 1);

    the first two by more than rounding.

    The paper's "scores of 2- and 3-BALD diverge" is read here as scores of one batch, 2-BALD's, whole and relative. Its
    tolerance of 0.3 is this package's: on MNIST 0.1 ends batches at 4 points, where 2-BALD still chooses as well as
    BatchBALD does (docs/findings.md).

    Args:
        log_probs: natural log-probabilities [N, K, C], in memory or not (see `predictions`).
        batch_size: the largest size, at most N.
        min_size: the smallest size, whatever the criteria say; at least 1.
        divergence: the tolerance, relative to the score; None: this criterion is off.
        non_positive: whether that criterion is on.
        share_of_log_k: the share, above 0; None: this criterion is off.
        generator: not used, as nothing is drawn; all methods can be called with one.
        memory_budget: of `kbald`, of 3-BALD's outcome tables too; None depends on what is free.
        device: see `kbald`.

    Returns:
        The batch, with 2-BALD's scores; its decision is the criterion that ended it ("min_size (divergence)" if that
        would have ended it before min_size), or "batch_size".

    Raises:
        TablesTooLarge: the batch is so large that 3-BALD cannot be evaluated within the budget.
        ValueError: sizes or thresholds out of range, or log_probs that are none.
    """
    if type(min_size) is not int or min_size < 1:
        raise ValueError(f"min_size must be an integer of at least 1, got {min_size!r}")
    for name, value in (("divergence", divergence), ("share_of_log_k", share_of_log_k)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above 0, got {value!r}")
    if type(non_positive) is not bool:
        raise ValueError(f"non_positive must be true or false, got {non_positive!r}")
    predictions = pool_predictions(log_probs, batch_size)
    budget = checked_budget(memory_budget, device or predictions.device)
    check_divergence_tables(predictions.shape, batch_size, budget, divergence=divergence, dtype=predictions.dtype)
    batch = kbald(predictions, batch_size, order=2, memory_budget=budget, device=device)
    size, decision = batch_size, "batch_size"
    if non_positive and batch.first_non_positive is not None:
        size, decision = batch.first_non_positive, "non_positive"
    if share_of_log_k is not None and (enough := _size_of_share(batch.log_probs[:size], share_of_log_k)) is not None:
        size, decision = enough, "share_of_log_k"
    if divergence is not None:
        third = kbald_scores(batch.log_probs[:size], order=3, memory_budget=budget, device=device)
        diverged = _size_before_divergence(batch.scores[:size], third, divergence, tie_margin(predictions.dtype))
        if diverged is not None:
            size, decision = diverged, "divergence"
    if size < min_size:
        size, decision = min(min_size, batch_size), f"min_size ({decision})"
    if size == batch_size:
        decision = "batch_size"
    return Batch(batch.indices[:size], batch.scores[:size], batch.log_probs[:size], decision)


def _size_of_share(log_probs: Float[Tensor, "B K C"], share_of_log_k: float) -> int | None:
    """The smallest size below B whose joint mutual information is that share of log K; None if there is none.

    One simulation judges all sizes (where their outcomes cannot be enumerated).
    """
    num_samples = log_probs.shape[1]
    if num_samples == 1:
        return None
    enough = share_of_log_k * math.log(num_samples)
    information, _ = joint_mutual_information_of_prefixes(log_probs[:-1])
    return next((b for b, joint in enumerate(information.tolist(), 1) if joint >= enough), None)


def _size_before_divergence(
    second: list[float], third: list[float], divergence: float, rounding_of_gain: float
) -> int | None:
    """The size before which the scores of 2- and 3-BALD diverge by more than rounding; None if they do not.

    Args:
        second, third: scores of 2- and 3-BALD after each point of one batch.
        divergence: relative to 2-BALD's score.
        rounding_of_gain: nats that rounding alone can make of one gain.
    """
    for b in range(2, len(second)):  # of one or two points, both are exact
        rounding = rounding_of_gain * (b + 1) ** 2  # of as many pairs (seen: 1.4e-4 in float32 at 20 points, of 8e-4)
        if abs(third[b] - second[b]) > divergence * abs(second[b]) + rounding:
            return b
    return None


def check_divergence_tables(
    shape: tuple[int, ...],
    batch_size: int,
    memory_budget: int,
    *,
    divergence: float | None = _DIVERGENCE,
    dtype: torch.dtype = torch.float32,
    **_other_options: object,
) -> None:
    """`kbald.check_tables` for `dynamic_bald`: of the largest batch, whether or not another criterion makes it smaller.

    Raises:
        TablesTooLarge: 2-BALD's tables, or with a divergence 3-BALD's, do not fit into memory_budget.
    """
    check_tables(shape, batch_size, memory_budget, order=2, dtype=dtype)
    if divergence is None:
        return
    try:
        check_tables(shape, batch_size, memory_budget, order=3, dtype=dtype)
    except TablesTooLarge as error:
        raise TablesTooLarge(f"divergence from 3-BALD: {error}; divergence=null does without") from error


def positive_bald(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    min_size: int = 1,
    generator: Generator | None = None,
    memory_budget: int | None = None,
    device: torch.device | None = None,
) -> Batch:
    r"""2-BALD's batch, ended before the first pick that does not raise its score: one criterion of `dynamic_bald`.

    With S the picks, a gain of 2-BALD is

    .. math:: a_2(b) - a_2(b - 1) = I[Y_n; \Omega] - \sum_{i \in S} I[Y_n; Y_i]

    The batch ends once every point of the pool shares more with the picks, pair by pair, than it has to tell (or hardly
    less). No more than 2-BALD is computed.
    [Kirsch2023, figure 3: the scores turn negative]

    Args, returns and raises: those of `dynamic_bald`.
    """
    return dynamic_bald(
        log_probs,
        batch_size,
        min_size=min_size,
        divergence=None,
        non_positive=True,
        share_of_log_k=None,
        memory_budget=memory_budget,
        device=device,
    )


def adaptive_kbald(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    tolerance: float = 0.1,
    max_order: int = 3,
    seconds: float | None = None,
    generator: Generator | None = None,
    memory_budget: int | None = None,
    device: torch.device | None = None,
) -> Batch:
    r"""k-BALD of the lowest order whose score is near what its batch is really worth. [Kirsch2023, sections 1 and 4]

    The order is raised from 2 while

    .. math:: |a_k - I| > \text{tolerance} \cdot I,

    with :math:`a_k` the batch's k-BALD score and I its joint mutual information (exact for few points, else the mean
    over simulated outcomes: what the particle estimate of BatchBALD tends to, evaluated of this batch). If no order
    that the budgets allow comes near, the one that comes nearest is taken.

    Args:
        log_probs: natural log-probabilities [N, K, C], in memory or not (see `predictions`).
        batch_size: B, at most N.
        tolerance: relative to I, above 0.
        max_order: at least 2.
        seconds: no order is tried that might not end within so many: its time is taken to grow as its outcome tables
            do, which is 2 to 3 times too careful (bench_acquisition). None: no limit. With one, what is acquired
            depends on the speed of the machine.
        generator: not used, as nothing is drawn; all methods can be called with one.
        memory_budget: of `kbald`; orders whose tables exceed it are not tried. None depends on what is free.
        device: see `kbald`.

    Returns:
        The batch, with the scores of its order; its decision is the order, and what was not tried further.

    Raises:
        TablesTooLarge: not even the tables of order 2 fit.
        ValueError: B, tolerance, seconds or max_order out of range, or log_probs that are none.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance must be above 0, got {tolerance!r}")
    if seconds is not None and not seconds >= 0:
        raise ValueError(f"seconds must be at least 0, got {seconds!r}")
    if type(max_order) is not int or max_order < 2:
        raise ValueError(f"max_order must be an integer of at least 2, got {max_order!r}")
    predictions = pool_predictions(log_probs, batch_size)
    tried: list[tuple[float, Batch]] = []  # with how far the score departs from the batch's worth, relative to it
    start, reason = time.perf_counter(), "max_order"
    margin = tie_margin(predictions.dtype) * max(1, batch_size)  # where nothing can be learned, both are 0 but rounding
    for order in range(2, max_order + 1):
        began = time.perf_counter()
        try:
            batch = kbald(predictions, batch_size, order=order, memory_budget=memory_budget, device=device)
        except TablesTooLarge:
            if not tried:
                raise
            reason = "memory"
            break
        took = time.perf_counter() - began
        batch = replace(batch, decision=f"order={order}")
        worth = batch.joint_mutual_information
        departure = abs(batch.scores[-1] - worth) if len(batch) else 0.0
        tried.append((departure / max(worth, margin), batch))
        if departure <= tolerance * worth + margin or order >= batch_size:
            return batch
        now = time.perf_counter()
        rows = [max(1, table_rows(batch_size, k, predictions.shape[2])) for k in (order, order + 1)]
        if seconds is not None and order < max_order and (now - start) + took * rows[1] / rows[0] > seconds:
            reason = "seconds"
            break
    _, nearest = min(tried, key=lambda pair: pair[0])
    return replace(nearest, decision=f"{nearest.decision} ({reason})")
