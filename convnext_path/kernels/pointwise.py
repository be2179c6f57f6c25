"""GELU, and the gradients of a BatchNorm that trains, in half to two thirds of torch's time on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn

from convnext_path.kernels.build import TYPES, allocate, call, is_ready, refuse_second_derivative


class Gelu(torch.autograd.Function):
    """x times the standard normal distribution's cumulative function of x, to 1e-7 of the larger of 1 and x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        y = torch.empty_like(x)
        call("gelu", x.dtype, x, y, x.numel())
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        refuse_second_derivative()
        (x,) = ctx.saved_tensors
        by_x = torch.empty_like(x)
        layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
        call("gelu_gradient", x.dtype, x, grad.contiguous(memory_format=layout), by_x, x.numel())
        return by_x


def computes(x: Tensor) -> bool:
    """Whether the kernels are for such a tensor: dense, float32 or bfloat16, on a CPU; torch.compile has its own."""
    if torch.compiler.is_compiling() or not is_ready(x.device):
        return False
    return x.device.type == "cpu" and x.dtype in TYPES and (x.is_contiguous() or is_channels_last(x))


def is_channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)


class BatchNorm(torch.autograd.Function):
    """A BatchNorm with the statistics of its batch. Output and running statistics are torch's to the bit."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.BatchNorm2d, weight: Tensor, bias: Tensor) -> Tensor:
        running = (layer.running_mean, layer.running_var)
        y, mean, inverse = torch.native_batch_norm(x, weight, bias, *running, True, layer.momentum, layer.eps)  # type: ignore[arg-type]
        ctx.save_for_backward(x, weight, mean, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        x, weight, mean, inverse = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        rows, channels = x.numel() // x.shape[1], x.shape[1]
        by_x, by_weight, by_bias = torch.empty_like(x), torch.empty_like(mean), torch.empty_like(mean)
        scratch = allocate("batch_norm", rows, channels)
        statistics, gradients = (mean, inverse, weight), (by_x, by_weight, by_bias)
        call("batch_norm_gradients", x.dtype, rows, channels, x, grad, *statistics, *gradients, scratch)
        return by_x, None, by_weight, by_bias


def normalize(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """What ``layer`` makes of (N, C, H, W), channels-last, where :func:`normalizes` holds."""
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    result: Tensor = BatchNorm.apply(x, layer, layer.weight, layer.bias)
    return result


def normalizes(layer: nn.BatchNorm2d, x: Tensor) -> bool:
    """Whether ``layer`` is about to train on ``x`` in a way that the kernel is for."""
    if not (layer.training and torch.is_grad_enabled() and computes(x) and is_channels_last(x)):
        return False
    usual = layer.affine and layer.track_running_stats and layer.momentum is not None
    return usual and layer.weight.dtype == torch.float32 and x.numel() > x.shape[1] == layer.num_features
