"""An `MCDropoutNet` under K fixed masks: inputs -> logits under every mask, without computing what dropout discards.

Axes: n inputs, K masks, J masks of a group, C channels (or features) that a layer reads, U units that it computes, M of
them that a mask keeps. Activations have the inputs last, [C, H, W, n], so that layers are products of wide matrices.

Mask k is the same for all inputs, so what it drops can be left out before any input is seen. Layers up to the first
dropout are computed once for all masks. The layer behind it is summed over the channels that masks choose (`summed`),
or sliced (`sliced`), whichever takes fewer multiplications; the further layers are sliced.

On a CPU, units are summed in blocks that stay in cache, and each mask has slices of its own size. On a GPU, one product
serves all units, or all masks, padded with zeros to the largest, in multiples of 8 for the tensor cores. Masks go to
the GPU once, whatever K is, and nothing waits for it.
"""

from alkbald.posteriors.mc_dropout.masked.network import MaskedNetwork

__all__ = ["MaskedNetwork"]
