"""The whole network under K masks. Axes: G tiles of n inputs, K masks, C classes or channels."""

import threading
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from alkbald.posteriors.mc_dropout.masked.kept import Kept, Sizes, sizes_of
from alkbald.posteriors.mc_dropout.masked.sliced import SlicedLayer
from alkbald.posteriors.mc_dropout.masked.summed import SummedLayer, sum_is_cheaper
from alkbald.posteriors.mc_dropout.masked.windows import WholeLayer
from alkbald.posteriors.mc_dropout.stages import Masks, Stage

#: Columns of a CPU's products (places of all windows and inputs), and elements of contributions and sums that each of
#: its threads holds at once (3 MiB). A core with AVX2 takes 16 us a pass for the MNIST CNN's summed layer at K = 20 and
#: 5.9 us at K = 100; with all 64 units at once 29 and 8.8 us.
_COLUMNS, _BLOCK = 1024, 3 * 2**18
#: Tiles of so many columns that a CPU sends through a mask's slices together, so that their weights are read once for
#: all: the MNIST CNN's hidden layer takes 1.5 us a pass in place of 3.0 us.
_TILES = 8
#: What tensor cores want of the sizes of products.
_MULTIPLE = 8


class _Group(NamedTuple):
    """Masks whose slices are in one product: one mask on a CPU, all of them on a GPU."""

    masks: slice
    reads: Kept  # units that the first of the layers reads
    layers: list[SlicedLayer]


class MaskedNetwork:
    """The network under K masks.

    Args:
        stages: with their weights at this moment; the last is without dropout.
        masks: on the CPU, one for every stage with dropout.
        num_samples: K.
        one: an input, [1, ...], whose shape and device all have.
        dtype: of what comes behind the first dropout.
    """

    @torch.no_grad()
    def __init__(self, stages: list[Stage], masks: Masks, num_samples: int, one: Tensor, dtype: torch.dtype):
        dropping = [i for i, stage in enumerate(stages) if stage.dropout]
        first = dropping[0] + 1 if dropping else len(stages)  # of the stages that masks tell apart
        sizes = sizes_of(stages, *(one.shape[1:] if one.dim() == 4 else (1, one.numel(), 1)))
        self._shape, self._dtype, self._on_cpu = (num_samples, stages[-1].units), dtype, one.device.type == "cpu"
        shared = [*zip(stages[:first], sizes, strict=False)]
        self._shared = [WholeLayer(s, size.channels, (size.height, size.width), self._on_cpu) for s, size in shared]
        self._summed: SummedLayer | None = None
        self._groups: list[_Group] = []
        self._memory = threading.local()
        self._elements = sum(
            size.places * (size.channels * size.field + s.units * (size.window + 1)) for s, size in shared
        )
        behind = sizes[min(first, len(stages) - 1)]
        self._tile = max(1, _COLUMNS // (behind.window * behind.places))
        if dropping:
            drawn = dict(zip(dropping, masks, strict=True))
            kept = [drawn.get(i, torch.ones(num_samples, s.units, dtype=torch.bool)) for i, s in enumerate(stages)]
            self._cut(stages, sizes, kept, first)

    def _cut(self, stages: list[Stage], sizes: list[Sizes], kept: Masks, first: int) -> None:
        """What the masks leave of the stages from `first` on."""
        multiple, device, num_samples = 1 if self._on_cpu else _MULTIPLE, stages[0].layer.weight.device, len(kept[0])
        if sum_is_cheaper(sizes[first], kept[first - 1], kept[first]):
            self._summed = SummedLayer(
                stages[first],
                sizes[first],
                kept[first - 1],
                stages[first - 1].scale,
                kept[first],
                at_a_time=_BLOCK // _COLUMNS if self._on_cpu else None,
                multiple=multiple,
                dtype=self._dtype,
            )
            self._elements += self._summed.elements
            first += 1
        units = [Kept.of(masks, multiple) for masks in kept[first - 1 :]]
        if self._on_cpu:
            groups = [(slice(k, k + 1), [of_all.single(k) for of_all in units]) for k in range(num_samples)]
        else:
            groups = [(slice(0, num_samples), [of_all.to(device) for of_all in units])]
        for masks, (reads, *keeps) in groups:
            layers = [
                SlicedLayer.of(stages[i], sizes[i], before, stages[i - 1].scale, after, self._dtype)
                for i, before, after in zip(range(first, len(stages)), (reads, *keeps), keeps, strict=False)
            ]
            self._groups.append(_Group(masks, reads, layers))
        self._elements += sum(layer.elements(size) for layer, size in zip(layers, sizes[first:], strict=True))

    def inputs_within(self, memory_budget: int) -> int:
        """How many inputs to hand over at a time, so that their activations take so many bytes; at least 1."""
        fit = memory_budget // (4 * self._elements)
        if self._on_cpu and fit > self._tile:
            fit = min(fit // self._tile, _TILES) * self._tile
        return max(1, fit)

    @torch.no_grad()
    def __call__(self, inputs: Float[Tensor, "n ..."], out: Float[Tensor, "n K C"]) -> None:
        """Writes the logits."""
        tiles = len(inputs) // self._tile if self._on_cpu else 0
        whole = tiles * self._tile
        if tiles:
            self._predict(inputs[:whole], out[:whole], tiles)
        if whole < len(inputs):
            self._predict(inputs[whole:], out[whole:], 1)

    def _predict(self, inputs: Float[Tensor, "Gn ..."], out: Float[Tensor, "Gn K C"], tiles: int) -> None:
        size = len(inputs) // tiles
        out = out.unflatten(0, (tiles, size))
        parts = inputs.split(size)
        if self._summed is None:  # channels last: what a mask keeps is gathered from runs in memory
            x = torch.stack([self._shared_of(part).permute(3, 1, 2, 0) for part in parts])  # G n H W C
        else:
            x = self._sums(self._summed, parts)  # G K M H W n
        if not self._groups:  # no dropout: one function
            out[:] = x.flatten(2)[:, :, None]
        for masks, reads, layers in self._groups:
            count, width = reads.units.shape
            if self._summed is None:
                y = x.gather(-1, reads.units.flatten().expand(*x.shape[:-1], -1))
                y = y.unflatten(-1, (count, width)).permute(0, 4, 5, 2, 3, 1)
            else:
                y = x[:, masks, :width]
            y = y.flatten(0, 1)  # GJ M H W n
            for layer in layers:
                y = layer(y)
            out[:, :, masks] = y.view(tiles, count, -1, size)[:, :, : self._shape[1]].permute(0, 3, 1, 2)

    def _shared_of(self, inputs: Float[Tensor, "n ..."]) -> Float[Tensor, "C H W n"]:
        """What all masks share."""
        x = inputs.permute(1, 2, 3, 0) if inputs.dim() == 4 else inputs.flatten(1).T[None, :, None]
        for layer in self._shared:
            x = layer(x)
        return x.to(self._dtype, memory_format=torch.contiguous_format)

    def _sums(self, summed: SummedLayer, parts: Sequence[Float[Tensor, "n ..."]]) -> Float[Tensor, "G K M H W n"]:
        """The summed layer; zeros where a mask keeps fewer than M units."""
        rows, *places = summed.shape
        shape = len(parts), rows, places[0] * places[1] * len(parts[0])
        # Used again by this thread: fresh memory is slow on a CPU.
        results = cast(dict[tuple[int, ...], Tensor], vars(self._memory))
        if shape not in results:
            results.clear()
            results[shape] = parts[0].new_zeros(shape, dtype=self._dtype)
        for part, result in zip(parts, results[shape], strict=True):
            summed(self._shared_of(part), result)
        return results[shape][:, :-1].view(len(parts), -1, summed.width, *places, len(parts[0]))
