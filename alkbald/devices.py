"""Devices: which one, work in smaller parts when its memory runs out, and products of a stated precision."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import torch

from alkbald.errors import SettingsError

Result = TypeVar("Result")


def pick_device(name: str, job: int) -> torch.device:
    """auto: the GPUs in turn, job by job, or the CPU where there is none."""
    if name != "auto":
        return torch.device(name)
    count = torch.cuda.device_count()
    return torch.device("cuda", job % count) if count else torch.device("cpu")


def prepared_device(name: str, *, precision: str = "fp32", threads: int | None = None, job: int = 0) -> torch.device:
    """The device of a run, with the number of threads set; what makes the run slow here is told in a line.

    Args:
        name: auto, cpu, cuda or cuda:N.
        precision: of inference, one of `posteriors.PRECISIONS`.
        threads: of PyTorch on the CPU; None: as they are.
        job: number of the run in its sweep: with auto, runs take the GPUs in turn.

    Raises:
        SettingsError: the device cannot do the precision.
    """
    device = pick_device(name, job)
    if precision == "tf32" and device.type != "cuda":
        raise SettingsError(f"precision=tf32 needs an NVIDIA GPU, the device is {device}")
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cpu" and precision == "bf16" and (slowdown := bfloat16_slowdown()) > 2:
        print(f"note: bf16 products take {slowdown:.0f} times as long as fp32 here: precision=fp32 is faster")
    return device


def bfloat16_slowdown() -> float:
    """How many times as long as in float32 a small matrix product takes in bfloat16 on the CPU, measured in some 20 ms.

    A processor without bfloat16 arithmetic may need 25 times as long. Features do not tell: PyTorch does well without
    it on processors that have AVX-512.
    """
    seconds = []
    for dtype in (torch.bfloat16, torch.float32):
        matrix = torch.ones(192, 192, dtype=dtype)
        times = []
        for _ in range(4):  # the first of them includes preparations
            start = time.perf_counter()
            matrix @ matrix
            times.append(time.perf_counter() - start)
        seconds.append(min(times))
    return seconds[0] / seconds[1]


def free_memory(device: torch.device) -> int:
    """Bytes that are free; where the system does not tell, 2 GiB."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    with suppress(OSError, StopIteration):  # on another system, or in a sandbox
        with open("/proc/meminfo") as file:  # what can be had: the page cache, which SC_AVPHYS_PAGES leaves out, too
            available = next(line for line in file if line.startswith("MemAvailable:"))
        return 1024 * int(available.split()[1])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 2**31


@contextmanager
def side_by_side(threads: int) -> Iterator[Callable[..., Iterator]]:
    """`map`, by so many threads of this process, each of which computes alone.

    For parts that have nothing to do with each other this is faster than many threads in each operation: these wait for
    each other after every one, and share what is in their caches. Threads that wait here sleep.
    """
    if threads == 1:
        yield map
        return
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))  # of the calling thread alone
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # what threads begin with that are made from now on


def retry_smaller(work: Callable[[int], Result], size: int, what: str, *, least: int = 1) -> tuple[Result, int]:
    """work(size), with half the size whenever the device is out of memory; a warning is logged each time.

    Args:
        work: of a given size.
        size: to begin with.
        what: is counted by the size, for the warning.
        least: size at which being out of memory is an error.

    Returns:
        What the work returned, and the size that fitted.
    """
    while True:
        try:
            return work(size), size
        except torch.OutOfMemoryError:
            if size <= least:
                raise
        size = max(least, size // 2)  # here, where the exception no longer holds on to what was computed
        torch.cuda.empty_cache()
        logging.getLogger(__name__).warning("out of memory: going on with %d %s", size, what)


@contextmanager
def float32_products(device: torch.device | None = None, *, tf32: bool = False) -> Iterator[None]:
    """Products of float32 are float32, or tf32 on a GPU. What a program has set for them comes back afterwards.

    Without this, PyTorch does convolutions on a GPU in tf32. If the program allows it, it does matrix products in tf32
    too, and on a CPU that has the units both in bf16.

    Args:
        device: where all products are; None: any. On a CPU a GPU's flags are left alone: while they are set, PyTorch
            refuses to read `torch.backends.cudnn.allow_tf32`, as a user's module may do.
        tf32: on a GPU.
    """
    backends: Any = torch.backends  # makes some of its parts at run time, out of a type checker's sight
    on_gpu = [backends.cudnn.conv, backends.cuda.matmul]
    on_cpu = [backends.mkldnn.conv, backends.mkldnn.matmul]
    chosen = on_cpu if device is not None and device.type == "cpu" else on_gpu + on_cpu
    before = [backend.fp32_precision for backend in chosen]
    try:
        for backend in chosen:
            backend.fp32_precision = "tf32" if tf32 and backend in on_gpu else "ieee"
        yield
    finally:
        for backend, precision in zip(chosen, before, strict=True):
            backend.fp32_precision = precision
