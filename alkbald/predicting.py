"""Predictions of pools that are larger than memory: written into a file part by part, or made when they are asked for.

Axes: N inputs, K MC samples, C classes.

Both give what `posterior.log_probs(inputs, num_samples, generator=generator)` gives, but for rounding: the samples of
every part are drawn from the same state of the generator, so that sample k is one function of all inputs.

The inputs may be a tensor, a NumPy array (also one that is mapped from a file), or whatever has a length and gives
such a part for a slice. They are moved to the posterior's device part by part.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.acquisition import Chunks
from alkbald.posteriors import Posterior


def lazily(
    posterior: Posterior,
    inputs: Any,
    num_samples: int,
    *,
    generator: Generator,
    precision: str = "fp32",
    points_at_a_time: int | None = None,
) -> Chunks:
    """Predictions that are made when an acquisition function asks for them, and are never held all at once.

    Each request predicts anew. BALD and entropies predict every point once. The other methods also predict again the
    points that can still win and those between them: that can come to several passes.

    Args:
        posterior: fitted; it must not change while these predictions are used.
        inputs: [N, ...], N at least 1, in memory or not.
        num_samples: K.
        generator: a CPU generator. It goes on as by one call of `log_probs`.
        precision: see `Posterior.log_probs`.
        points_at_a_time: how many inputs to predict in one go; None: predictions of some 16 MiB.
    """
    predict = _predictor(posterior, inputs, num_samples, generator, precision)
    return Chunks(predict, len(inputs), points_at_a_time=points_at_a_time)


#: Nats by which a log-probability may differ if it is computed again, on another device say.
_SAME = 1e-2


def write_log_probs(
    posterior: Posterior,
    inputs: Any,
    num_samples: int,
    path: str | Path,
    *,
    generator: Generator,
    precision: str = "fp32",
    points_at_a_time: int = 4096,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Float[np.ndarray, "N K C"]:
    """Writes the predictions of all inputs into a file of NumPy's format, and maps it.

    It can be interrupted at any time: the same call goes on after the last whole part. A second file, PATH.json, tells
    how far it has come, and of which posterior, samples and inputs the predictions are.

    Args:
        posterior: fitted.
        inputs: [N, ...], N at least 1, in memory or not.
        num_samples: K.
        path: ends in .npy.
        generator: a CPU generator. It goes on as by one call of `log_probs`.
        precision: see `Posterior.log_probs`.
        points_at_a_time: inputs in a part.
        progress: wraps the iteration over the parts, a progress bar say.

    Returns:
        The map, which can only be read: natural log in float32. Acquisition functions take it as it is.

    Raises:
        ValueError: path is not an .npy, or holds something else (predictions of other weights or inputs, or whose first
            one is another), or was cut short.
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise ValueError(f"path must end in .npy, got {path}")
    identity = _identity(posterior, inputs, num_samples, generator, precision, points_at_a_time)
    done = _points_done(path, identity)
    predict = _predictor(posterior, inputs, num_samples, generator, precision)
    shape = (len(inputs), num_samples, posterior.num_classes)
    if done:
        _check_held(path, shape, predict(0, 1))
    else:
        _say_done(path, identity, 0)  # first: a file without it is taken for somebody else's
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape).flush()
    log_probs = np.load(path, mmap_mode="r+")
    for start in progress(range(done, len(inputs), points_at_a_time)):
        stop = min(start + points_at_a_time, len(inputs))
        log_probs[start:stop] = predict(start, stop).cpu()
        log_probs.flush()  # the predictions first: what is said to be done is there, also after a crash
        _say_done(path, identity, stop)
    return np.load(path, mmap_mode="r")


def _predictor(
    posterior: Posterior, inputs: Any, num_samples: int, generator: Generator, precision: str
) -> Callable[[int, int], Tensor]:
    """Predicts the inputs from `start` up to `stop`, always under the same samples. The generator goes on."""
    state = generator.get_state()
    device = next((tensor.device for tensor in posterior.parameters()), torch.device("cpu"))

    def predict(start: int, stop: int, drawn_from: Generator | None = None) -> Tensor:
        part = inputs[start:stop]
        part = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))  # a map cannot be written to
        again = torch.Generator()
        again.set_state(state)
        return posterior.log_probs(part.to(device), num_samples, generator=drawn_from or again, precision=precision)

    predict(0, 1, generator)
    return predict


def _identity(
    posterior: Posterior, inputs: Any, num_samples: int, generator: Generator, precision: str, points_at_a_time: int
) -> str:
    """A hash of what decides the predictions, as far as weights and inputs tell (see `_check_held`)."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((len(inputs), num_samples, precision, points_at_a_time)).encode())
    digest.update(generator.get_state().numpy().tobytes())
    for start in range(0, len(inputs), points_at_a_time):
        part = inputs[start : start + points_at_a_time]
        digest.update(np.ascontiguousarray(part.cpu() if isinstance(part, Tensor) else part).tobytes())
    weights = [tensor.detach().cpu().contiguous() for tensor in posterior.state_dict().values()]
    for tensor in weights:
        if tensor.numel():
            digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_held(path: Path, shape: tuple[int, ...], first: Float[Tensor, "1 K C"]) -> None:
    """What the weights do not tell, such as a rate of dropout: whether the first prediction is that of today.

    Raises:
        ValueError: it is not, or the file was cut short.
    """
    try:
        held = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove it") from error
    if held.shape != shape or not np.allclose(held[:1], first.cpu().numpy(), atol=_SAME):
        raise ValueError(f"{path} holds other predictions; move it away or choose another path")


def _points_done(path: Path, identity: str) -> int:
    """How many points of these predictions the file has; 0 if there is no file.

    Raises:
        ValueError: the file is of something else.
    """
    if not path.exists():
        return 0
    try:
        recorded = json.loads(_progress_path(path).read_text())
        if recorded["predictions"] == identity:
            return int(recorded["points_done"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # said below
    raise ValueError(f"{path} holds other predictions, or none; move it away or choose another path")


def _say_done(path: Path, identity: str, points_done: int) -> None:
    """Atomic: the old content or the new one, also after a crash."""
    text = json.dumps({"predictions": identity, "points_done": points_done})
    draft = path.with_suffix(".npy.json.draft")
    draft.write_text(text)
    os.replace(draft, _progress_path(path))


def _progress_path(path: Path) -> Path:
    return path.with_suffix(".npy.json")
