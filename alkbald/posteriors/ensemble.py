"""A deep ensemble as a posterior: M networks of other initial weights, trained on the same data.

Axes: N inputs, M members, C classes.

References:
    [Lakshminarayanan2017] Lakshminarayanan, Pritzel and Blundell. Simple and scalable predictive uncertainty estimation
        using deep ensembles.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn

from alkbald.posteriors.base import Posterior, Sampled, inputs_within
from alkbald.posteriors.mc_dropout import MCDropoutNet


def ensemble(network: Callable[[int], MCDropoutNet], weights_seed: Callable[..., int], *, members: int) -> "Ensemble":
    """An untrained ensemble.

    Args:
        network: makes a member, given the seed of its initial weights.
        weights_seed: the seed of a key, here the number of a member.
        members: M, from 1 to 10,000.

    Raises:
        ValueError: another number of members.
    """
    if type(members) is not int or not 1 <= members <= 10_000:
        raise ValueError(f"members must be between 1 and 10000, got {members}")
    return Ensemble([network(weights_seed(member)) for member in range(members)])


class Ensemble(Posterior):
    """M networks; sample m is member m, so that there are M samples. [Lakshminarayanan2017]

    Dropout, if members have some, serves training; predictions are without.

    Args:
        members: networks, at least one; they are trained one after another.
    """

    validates_without_sampling = True

    def __init__(self, members: Sequence[MCDropoutNet]):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.num_members = len(members)

    @property
    def num_classes(self) -> int:
        return self.networks[0].num_classes

    @property
    def networks(self) -> list[MCDropoutNet]:
        return [*self.members]

    def sampled(
        self, num_samples: int, *, generator: Generator, precision: str, example: Tensor, memory_budget: int | None
    ) -> Sampled:
        """All members, in their order: nothing is drawn. bf16 is autocast's."""

        def write_logits(inputs: Tensor, out: Tensor) -> None:
            with torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
                for m, member in enumerate(self.members):
                    out[:, m] = member(inputs)

        return Sampled(write_logits, inputs_within(memory_budget, self.members[0], example))
