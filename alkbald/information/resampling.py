"""Which outcome particles are kept when there are too many. Axes: M particles, K MC samples, C classes.

[FearnheadClifford2003] Fearnhead and Clifford. On-line inference for hidden Markov models via particle filters.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

#: Of more particles, only those with this share of the remaining entropy of the least that might be kept are put in
#: strata.
_MANY, _IN_STRATA = 2**20, 0.01
#: Of many particles, so many neighbours are one block: what is known of blocks tells where to look closer.
_BLOCK = 2**7


def _strata(posterior: Float[Tensor, "M K"]) -> Int[Tensor, " M"]:
    """The stratum of each particle: a number for the two most probable samples of its posterior, in their order."""
    return _child_strata(posterior, posterior.new_ones(posterior.shape[1], 1))


def strata_of_children(
    posterior: Float[Tensor, "M K"], probs: Float[Tensor, "K C"], children: Int[Tensor, " S"]
) -> Int[Tensor, " S"]:
    """As `_strata`, of some of the children posterior_mk p_ky, which are numbered m C + y."""
    num_samples, classes = probs.shape
    if 2 * len(children) > len(posterior) * classes:
        return _child_strata(posterior, probs)[children]
    parts = children.split(max(1, 2**22 // num_samples))
    return torch.cat([_strata(posterior[part // classes] * probs.T[part % classes]) for part in parts])


def _child_strata(posterior: Float[Tensor, "M K"], probs: Float[Tensor, "K C"]) -> Int[Tensor, " MC"]:
    """As `_strata`, of all children.

    Positive numbers are in the order of their bits. A sample's number takes the place of the last bits: then the two
    greatest of K numbers tell whose they are, and they are found in K passes over what stays in cache.
    """
    num_samples, classes = probs.shape
    bits = torch.int64 if probs.dtype == torch.float64 else torch.int32
    number_type = torch.int16 if num_samples**2 < 2**15 else torch.int32  # short numbers are sorted sooner
    last = 2 ** max(1, (num_samples - 1).bit_length()) - 1
    strata = []
    for part in posterior.split(max(1, (2**16 if probs.device.type == "cpu" else 2**24) // classes)):
        first, second = torch.zeros(2, len(part), classes, dtype=bits, device=probs.device)
        joint = probs.new_empty(len(part), classes)
        for k in range(num_samples):
            torch.mul(part[:, k, None], probs[k], out=joint)
            number = joint.view(bits).bitwise_or_(last).bitwise_xor_(last - k)
            torch.maximum(second, torch.minimum(first, number), out=second)
            torch.maximum(first, number, out=first)
        strata.append(((first & last) * num_samples + (second & last)).flatten().to(number_type))
    return torch.cat(strata)


def _greatest(values: Float[Tensor, " M"], count: int) -> tuple[Float[Tensor, " count"], Int[Tensor, " count"]]:
    """As `topk`. Of ten million values, 10,000 are found in a third of its time."""
    if len(values) <= 2 * _BLOCK * count:
        return values.topk(count)
    # So many of the blocks' greatest values are values: the least of them is not above the least that is looked for.
    of_blocks = values[: len(values) // _BLOCK * _BLOCK].view(-1, _BLOCK).amax(-1)
    places = (values >= of_blocks.topk(count).values[-1]).nonzero()[:, 0]
    greatest, order = values[places].topk(count)
    return greatest, places[order]


def _drawn(
    entropies: Float[Tensor, " M"],
    strata: Callable[[Int[Tensor, " n"]], Int[Tensor, " n"]],
    least: float,
    steps: Float[Tensor, " S"],
) -> Int[Tensor, " S"]:
    """One particle for each step that the sums of `entropies` (which are overwritten) pass; ascending steps.

    The particles stand stratum by stratum. Of more than a million, those with at most `least` stand behind them as they
    come. They are some 98% of ten million children at C = 1,000: putting all in strata takes ten times as long.
    """
    is_in_strata = entropies > (least if len(entropies) > _MANY else -1.0)
    in_blocks = len(entropies) // _BLOCK * _BLOCK
    is_in_strata[in_blocks:] = True
    in_strata = is_in_strata.nonzero()[:, 0]
    in_strata = in_strata[strata(in_strata).sort(stable=True).indices]
    of_strata = entropies[in_strata]
    blocks = entropies.index_fill_(0, in_strata, 0.0)[:in_blocks].view(-1, _BLOCK)
    sums = torch.cat([of_strata, blocks.sum(-1)]).cumsum(0)
    steps = steps[steps < sums[-1]]
    places = torch.searchsorted(sums, steps, right=True)
    in_block = places >= len(in_strata)
    drawn = [in_strata[places[~in_block]]]
    sums = torch.cat([sums.new_zeros(1), sums])
    for rest, place in zip(steps[in_block].split(_BLOCK), places[in_block].split(_BLOCK), strict=True):
        of_block = blocks[place - len(in_strata)].cumsum(-1)
        # Rounding must not lead to a particle of no entropy.
        rest = (rest - sums[place]).clamp_min_(0).minimum(of_block[:, -1].nextafter(rest.new_zeros(())))
        within = torch.searchsorted(of_block, rest[:, None], right=True)[:, 0]
        drawn.append((place - len(in_strata)) * _BLOCK + within)
    return torch.cat(drawn).unique_consecutive()


def resampled(
    weights: Float[Tensor, " M"],
    remaining_entropy: Float[Tensor, " M"],
    strata: Callable[[Int[Tensor, " n"]], Int[Tensor, " n"]],
    max_particles: int,
    generator: Generator,
    resample_above: int,
    negligible_entropy: float,
) -> tuple[Int[Tensor, " S"], Float[Tensor, " S"], bool]:
    """Which particles are kept, with what weights, and whether they are a sample of those that matter.

    Optimal stratified resampling [FearnheadClifford2003, section 3], by the remaining entropy of the particles instead
    of by their weights: a_m = weights_m H[posterior_m] bounds a particle's share of any further gain. Particles with
    a_m above c stay as they are. Of the others a stratified sample is kept, each with probability a_m / c, and its
    weights are raised by c / a_m. c solves sum_m min(a_m / c, 1) = max_particles. Expectations over particles are kept
    on average, and sum_m a_m exactly: so a score, log K less the remaining entropy, neither falls nor passes log K.
    Particles of one stratum have the same two most probable samples: they gain alike, which halves the error of a gain
    (as four times the particles would).

    Args:
        weights, remaining_entropy: of the particles; a_m is the remaining entropy.
        strata: gives a number for the stratum of each of some particles (`strata_of_children`).
        max_particles: at least 1.
        generator: a CPU generator; one number is drawn, and only if particles are resampled.
        resample_above: up to so many particles are all kept, even if that is more than max_particles.
        negligible_entropy: particles with at most so much remaining entropy together are dropped, if the others are so
            few that all are kept; nats.
    """
    # The others are in no order: there may be a thousand times as many.
    entropies, order = _greatest(remaining_entropy, min(len(weights), max(max_particles, resample_above)))
    others = remaining_entropy.index_fill(0, order, 0.0)
    beyond = others.sum()
    rest = entropies.flip(0).cumsum(0).flip(0) + beyond  # remaining entropy of the particles from position j on
    if not beyond > negligible_entropy:
        num_relevant = max(1, int((rest > negligible_entropy).sum()))
        return order[:num_relevant], weights[order[:num_relevant]], False
    # With the j greatest kept, the others share max_particles - j places: c_j = (their entropy) / (their places).
    # The right j is the first whose next particle is no greater than c_j.
    threshold = rest[:max_particles] / torch.arange(max_particles, 0, -1, device=rest.device)
    num_kept = int((entropies[:max_particles] <= threshold).int().argmax())
    c, kept = threshold[num_kept], order[:num_kept]
    others.index_copy_(0, order[num_kept:], entropies[num_kept:])
    offset = torch.rand((), generator=generator, dtype=torch.float64).item()
    steps = (torch.arange(max_particles - num_kept, dtype=others.dtype, device=others.device) + offset) * c
    sampled = _drawn(others, strata, _IN_STRATA * entropies[max_particles - 1].item(), steps)
    raised = weights[sampled] * (c / remaining_entropy[sampled]).to(weights)
    return torch.cat([kept, sampled]), torch.cat([weights[kept], raised]), True
