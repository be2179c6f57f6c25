"""Seconds, bytes and FLOP/s of steps, whatever they do, on a machine that has moods."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch.nn import functional as F

from ablations.training.memory import peak_memory, reset_peak_memory, used_memory

T = TypeVar("T")
Step = Callable[[], object]


def make_block(step: Step, seconds: float, device: torch.device) -> Callable[[], float]:
    """A function that takes as many steps as fill ``seconds`` and returns the seconds of one."""
    return partial(time_steps, step, math.ceil(seconds / time_steps(step, 1, device)) or 1, device)


def time_steps(step: Step, count: int, device: torch.device) -> float:
    """Seconds of one of ``count`` steps."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(count):
        step()
    synchronize(device)
    return (time.perf_counter() - start) / count


def synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def interleave(blocks: Sequence[Callable[[], T]], repeats: int) -> list[list[T]]:
    """What each block returned, in ``repeats`` rounds of one call each: the machine's moods fall on all alike."""
    rounds = [[block() for block in blocks] for _ in range(repeats)]
    return [list(returned) for returned in zip(*rounds, strict=True)]


def find_quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float(low), float(median), float(high)


def measure_memory(step: Step, device: torch.device) -> int:
    """Bytes that a step adds at its peak to what there was before; libraries' working memory is part of it on a CPU."""
    before = used_memory(device)
    reset_peak_memory(device)
    step()
    synchronize(device)
    return peak_memory(device) - before


LONG = 2.0  # seconds; a product in bfloat16 takes longer on a processor without instructions for it


def time_best(step: Step, device: torch.device) -> float:
    """Seconds of the fastest of ten steps, or of the first that fill two seconds."""
    times = list[float]()
    while len(times) < 10 and sum(times) < LONG:
        times.append(time_steps(step, 1, device))
    return min(times)


SIDES = {"cuda": 8192, "cpu": 2048}  # of the matrices by whose product a device's rate is measured


def measure_matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product, the best of ten by each of torch's two libraries; one convolves.

    On a GPU, fp32 may use TF32 here, as torch's convolutions do unless told otherwise.
    """
    side = SIDES[device.type]
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    image, kernels = a.view(1, side, 1, side).permute(0, 3, 1, 2), b.view(side, side, 1, 1)
    products = (lambda: a @ b, lambda: F.conv2d(image, kernels))
    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else usual)
    seconds = min(time_best(product, device) for product in products)
    torch.set_float32_matmul_precision(usual)
    return float(2 * side**3 / seconds)
