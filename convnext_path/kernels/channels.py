"""What is done to the channels of images, faster than torch does it on a CPU: a factor for each, LayerNorm, BatchNorm.

All take (N, C, H, W), channels-last, and have no second derivative.
"""

from typing import Any

import torch
from torch import Tensor, nn

from convnext_path.kernels.build import allocate, call, computes, is_channels_last, refuse_second_derivative


class ScaleChannels(torch.autograd.Function):
    """``x`` times a float32 factor for each channel: float32, to the bit as torch's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(x, factor)
        y = torch.empty_like(x, dtype=torch.float32)
        call("scale_channels", x.dtype, *matrix(x), x, factor, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        refuse_second_derivative()
        x, factor = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        gradients = torch.empty_like(x), torch.empty_like(factor)
        call("scale_channels_gradients", x.dtype, *matrix(x), x, grad, factor, *gradients, scratch(x))
        return gradients


class LayerNorm(torch.autograd.Function):
    """LayerNorm over the channels of bfloat16, computed in float32 and rounded to bfloat16 at the end."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, moments = torch.empty_like(x), torch.empty(2 * x[:, 0].numel())
        call("layer_norm", x.dtype, *matrix(x), x, weight, bias, eps, y, moments)
        ctx.save_for_backward(x, weight, moments)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        x, weight, moments = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        gradients = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        call("layer_norm_gradients", x.dtype, *matrix(x), x, grad, weight, moments, *gradients, scratch(x))
        return *gradients, None


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
        x, weight, *statistics = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        by_x, by_weight, by_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        gradients = by_x, by_weight, by_bias
        call("batch_norm_gradients", x.dtype, *matrix(x), x, grad, *statistics, weight, *gradients, scratch(x))
        return by_x, None, by_weight, by_bias


def matrix(x: Tensor) -> tuple[int, int]:
    """Rows and columns of (N, C, H, W) as (N * H * W, C)."""
    return x[:, 0].numel(), x.shape[1]


def scratch(x: Tensor) -> Tensor:
    return allocate("channels", *matrix(x))


def scales(factor: Tensor, x: Tensor) -> bool:
    """Whether :class:`ScaleChannels` is for these two."""
    return is_image(x, len(factor)) and factor.dtype == torch.float32


def layer_normalizes(layer: nn.LayerNorm, x: Tensor) -> bool:
    """Whether ``layer`` is about to normalize the channels of ``x`` in a way that :class:`LayerNorm` is for."""
    if not (x.dtype == torch.bfloat16 and is_image(x, layer.normalized_shape[0])):
        return False
    return layer.bias is not None and layer.weight.dtype == torch.float32


def batch_normalizes(layer: nn.BatchNorm2d, x: Tensor) -> bool:
    """Whether ``layer`` is about to train on ``x`` in a way that :class:`BatchNorm` is for."""
    if not (layer.training and torch.is_grad_enabled() and is_image(x, layer.num_features)):
        return False
    usual = layer.affine and layer.track_running_stats and layer.momentum is not None
    return usual and layer.weight.dtype == torch.float32 and x.numel() > x.shape[1]


def is_image(x: Tensor, channels: int) -> bool:
    """Whether kernels are for it, and it is channels-last of so many channels."""
    return x.ndim == 4 and x.shape[1] == channels and is_channels_last(x) and computes(x)
