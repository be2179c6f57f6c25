"""GELU in half to two thirds of torch's time on a CPU."""

from typing import Any

import torch
from torch import Tensor

from convnext_path.kernels.build import call, refuse_second_derivative


class Gelu(torch.autograd.Function):
    """x times the standard normal distribution's cumulative function of x, to 1e-7 of the larger of 1 and x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y, slope = torch.empty_like(x), torch.empty_like(x) if ctx.needs_input_grad[0] else None
        call("gelu", x.dtype, x, y, slope, x.numel())
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        refuse_second_derivative()
        (slope,) = ctx.saved_tensors
        by_x: Tensor = grad * slope
        return by_x
