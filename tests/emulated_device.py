"""A GPU that is not there: tensors that say they are on cuda:0, hold CPU data, and refuse what CUDA refuses.

Inside `emulated_device()`, what is made on or moved to "cuda" is an `EmulatedTensor`, and the CPU computes with it. So
a program gives the same numbers, and a test sees what a GPU would make of it:

- Tensors of both devices in one operation, or a CPU generator for a tensor of the device, are a RuntimeError.
- Copies and waits are counted by the line of alkbald that asked for them. A test asserts a count, never a time.

To teach it an operation, add a line to `WAITS` or to `INDEXING`. All others are taken to run on one device and to make
nobody wait. Not emulated: streams, the memory's limits, random numbers of the device, and backward passes.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import alkbald
from alkbald.information import particles

DEVICE = torch.device("cuda", 0)
PACKAGE = Path(alkbald.__file__).parent
aten = torch.ops.aten


def _always(*args, **kwargs) -> bool:
    return True


def _by_mask(tensor, indices, value=None, *rest, **kwargs) -> bool:
    """Whether the device has to count what a mask of its own selects. To fill with a number needs no count."""
    is_number = value is not None and not isinstance(value, EmulatedTensor) and value.dim() == 0
    return not is_number and any(isinstance(index, EmulatedTensor) and index.dtype == torch.bool for index in indices)


#: Operations whose result the host has to know (a value, or a shape that depends on values), and with which arguments.
WAITS: dict[Any, Callable[..., bool]] = {
    aten._local_scalar_dense: _always,  # item(), bool(), int(), float(), a 0-dimensional index
    aten.equal: _always,
    aten.nonzero: _always,
    aten.masked_select: _always,
    aten.bincount: _always,
    aten._unique2: _always,
    aten.unique_dim: _always,
    aten.unique_consecutive: _always,
    aten.repeat_interleave: lambda repeats, output_size=None, **_: output_size is None,
    aten.index: _by_mask,
    aten.index_put: _by_mask,
    aten.index_put_: _by_mask,
}

#: Operations (tensor, indices, value) that take indices of the host, at the price of a copy each.
INDEXING = {aten.index, aten._unsafe_index, aten.index_put, aten.index_put_}

#: What the program asks of torch.cuda, and the answers.
_CUDA = {
    "_lazy_init": lambda: None,
    "is_available": lambda: True,
    "is_bf16_supported": lambda including_emulation=True: True,
    "device_count": lambda: 1,
    "get_device_name": lambda device=None: "emulated",
    "synchronize": lambda device=None: None,
    "empty_cache": lambda: None,
    "mem_get_info": lambda device=None: (8 * 2**30, 80 * 2**30),  # free, of all
    "memory_reserved": lambda device=None: 0,
    "memory_allocated": lambda device=None: 0,
    "max_memory_allocated": lambda device=None: 2**20,
    "reset_peak_memory_stats": lambda device=None: None,
}


class EmulatedTensor(torch.Tensor):
    """A tensor on `DEVICE` whose values are those of `host`, on the CPU. Made by moving a tensor to "cuda"."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    host: torch.Tensor

    @staticmethod
    def __new__(cls, host: torch.Tensor):
        with torch.inference_mode(False):  # views of tensors that were made outside could not be wrapped inside
            tensor = torch.Tensor._make_wrapper_subclass(
                cls,
                host.shape,
                strides=host.stride(),
                storage_offset=host.storage_offset(),
                dtype=host.dtype,
                device=DEVICE,
            )
        tensor.host = host
        return tensor

    def __repr__(self, *, tensor_contents=None) -> str:
        return f"EmulatedTensor({self.host})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} on a tensor of an emulated device that is gone")


class EmulatedDevice(TorchDispatchMode):
    """Runs every operation, and keeps account of the device.

    Attributes:
        copies_to_device, copies_to_host: how many tensors were copied, by the line that asked for it.
        reads: how often the host waited for a value or for a shape, by line; without the copies to the host.
    """

    def __init__(self):
        super().__init__()
        self.copies_to_device: Counter[str] = Counter()
        self.copies_to_host: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()

    @property
    def waits(self) -> Counter[str]:
        """How often the host waited for what the device computes, by line: reads, and copies to the host.

        A copy to the device holds up the host as well, as CUDA does it in the order of the device's work. It is counted
        by itself, as one copy is needed to begin with and no read is.
        """
        return self.reads + self.copies_to_host

    def reset(self) -> None:
        for counter in (self.copies_to_device, self.copies_to_host, self.reads):
            counter.clear()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        emulated = [tensor for tensor in tensors if isinstance(tensor, EmulatedTensor)]
        asked_for = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
        on_device = bool(emulated) if asked_for is None else _is_emulated(asked_for)
        if not emulated and not on_device:
            return func(*args, **kwargs)
        if _is_composite(func):  # inference mode hands these over whole; what they are made of is counted
            with self:
                return func.decompose(*args, **kwargs)
        if any(isinstance(leaf, torch.Generator) for leaf in leaves):
            raise RuntimeError(f"{func}: Expected a 'cuda' device type for generator but found 'cpu'")
        packet = func.overloadpacket
        if packet is aten._to_copy:
            self._count_copy(args[0], on_device)
        elif packet is aten.copy_:
            self._count_copy(args[1], isinstance(args[0], EmulatedTensor))
        elif emulated and packet in INDEXING:
            self._count_indexing(func, *args)
        elif emulated and any(tensor.dim() for tensor in tensors if not isinstance(tensor, EmulatedTensor)):
            raise RuntimeError(f"{func}: Expected all tensors to be on the same device, found cuda:0 and cpu")
        if emulated and packet in WAITS and WAITS[packet](*args, **kwargs):
            self.reads[_line()] += 1
        return _computed(func, args, kwargs, tensors, on_device)

    def _count_copy(self, source: torch.Tensor, to_device: bool) -> None:
        if to_device != isinstance(source, EmulatedTensor):
            (self.copies_to_device if to_device else self.copies_to_host)[_line()] += 1

    def _count_indexing(self, func, tensor, indices, value=None, *rest) -> None:
        indices = [index for index in indices if index is not None]
        if not isinstance(tensor, EmulatedTensor):
            raise RuntimeError(f"{func}: a tensor on the cpu with indices or values on cuda:0")
        if value is not None and not isinstance(value, EmulatedTensor):
            if value.dim():
                raise RuntimeError(f"{func}: Expected all tensors to be on the same device, found cuda:0 and cpu")
            if not any(index.dtype == torch.bool for index in indices):  # a masked fill takes the number itself
                self.copies_to_device[_line()] += 1
        copied = sum(not isinstance(index, EmulatedTensor) for index in indices)
        if copied:
            self.copies_to_device[_line()] += copied


@cache
def _is_composite(func) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def _is_emulated(device: torch.device) -> bool:
    if device.type == "cuda" and device.index not in (None, DEVICE.index):
        raise RuntimeError(f"CUDA error: invalid device ordinal: {device}")
    return device.type == "cuda"


def _computed(func, args: tuple, kwargs: dict, tensors: list[torch.Tensor], on_device: bool) -> Any:
    """The operation by the CPU. Results that are arguments (of in-place operations) come back as these."""
    if kwargs.get("device") is not None and on_device:
        kwargs["device"] = torch.device("cpu")
    inputs = {id(_host(tensor)): tensor for tensor in tensors}
    results = func(*tree_map_only(EmulatedTensor, _host, args), **tree_map_only(EmulatedTensor, _host, kwargs))
    if torch.Tag.inplace_view in func.tags:
        with no_dispatch():  # squeeze_() and its like: the shape that the tensor itself tells changes too
            func(*args, **kwargs)

    def wrapped(result: torch.Tensor) -> torch.Tensor:
        if id(result) not in inputs:
            return EmulatedTensor(result) if on_device else result
        return inputs[id(result)]

    return tree_map_only(torch.Tensor, wrapped, results)


def _host(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.host if isinstance(tensor, EmulatedTensor) else tensor


def _line() -> str:
    """The line of alkbald that is running, e.g. "acquisition/pool.py:123"."""
    frame = sys._getframe(1)
    while frame:
        if frame.f_code.co_filename.startswith(f"{PACKAGE}/"):
            return f"{Path(frame.f_code.co_filename).relative_to(PACKAGE)}:{frame.f_lineno}"
        frame = frame.f_back
    return "outside alkbald"


@contextmanager
def emulated_device() -> Iterator[EmulatedDevice]:
    """A machine with one GPU, emulated, also where there is a real one. Afterwards all is as it was."""
    if torch.cuda.is_available():
        torch.cuda.init()  # PyTorch initialises once, and what is below would pass for it
    # Without a driver, PyTorch would ask it which device is current. (This stays, and does nothing where there is one.)
    torch._C._ensureCUDADeviceGuardSet()
    flags = torch._C._only_lift_cpu_tensors(), torch.__future__.get_overwrite_module_params_on_conversion()
    with pytest.MonkeyPatch.context() as patch:
        for name, answer in _CUDA.items():
            patch.setattr(torch.cuda, name, answer)
        patch.setattr(particles, "_tiles", {})  # what has fitted on a device says nothing of another
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") is made on the CPU, and moved
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # a parameter cannot become another type
        try:
            with EmulatedDevice() as device:
                yield device
        finally:
            torch._C._set_only_lift_cpu_tensors(flags[0])
            torch.__future__.set_overwrite_module_params_on_conversion(flags[1])
