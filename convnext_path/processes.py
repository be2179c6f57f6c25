"""The processes that train one network together: each has its part of every batch, and all have the same weights."""

from typing import Any

import torch
from torch import Tensor, distributed


def rank_and_size() -> tuple[int, int]:
    """Which of how many this process is; the first of one where it trains alone."""
    together = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)


def average(x: Tensor) -> Tensor:
    """The mean over all processes, of a tensor that each has; gradients flow back to all."""
    _, size = rank_and_size()
    y: Tensor = _Sum.apply(x) / size if size > 1 else x
    return y


def agree(number: int, device: torch.device) -> bool:
    """Whether all processes have the same number, below 2^63."""
    if rank_and_size()[1] == 1:
        return True
    ends = torch.tensor([number, -number], device=device)
    distributed.all_reduce(ends, distributed.ReduceOp.MAX)
    return bool(ends.sum() == 0)


class _Sum(torch.autograd.Function):
    """The sum over all processes, which has the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _Sum.forward(ctx, *grads)
