"""Depthwise convolutions that train fast: on a CPU the gradient by the weight is a kernel of our own.

A ConvNeXt's training step waits for that gradient: torch 2.15 (oneDNN) computes it at a hundredth to a fifth of the
speed of the forward pass. On a GPU, ``depthwise_triton.py`` does it all, where it is asked for.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnext_path.kernels.build import allocate, call, is_ready, refuse_second_derivative

#: Sides of the kernels that are faster here, whatever else their shape. For the weight gradient of 24 to 768 channels
#: of 56 to 1 pixels a side, batch 16 and 64, stride 1 and 2, float32 and bfloat16, 1 and 2 threads, channels-last or
#: not, torch 2.15 takes 5 to 1,700 times as long (EPYC with AVX-512). For side 3 it takes 0.4 to 2 times as long.
KERNELS = (5, 7, 9, 11)


def compute_gradients(x: Tensor, grad: Tensor, kernel: int, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    """Gradients by the weight (C, 1, kernel, kernel) and the bias (C), float32 sums whatever the inputs are.

    To the bit the same for any number of threads.

    Args:
        x, grad: the convolution's input (N, C, H, W) and the gradient by its output, float32 or bfloat16 both.
            Copied unless they are channels-last.
        kernel, stride, padding: of the convolution, for height and width alike; :func:`fuses` says which will do.
    """
    x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
    images, channels, *sides = x.shape
    shape = (ctypes.c_int64 * 9)(images, channels, *sides, *grad.shape[2:], kernel, stride, padding)
    weight = x.new_empty(channels, 1, kernel, kernel, dtype=torch.float32)
    bias = x.new_empty(channels, dtype=torch.float32)
    pointer = ctypes.addressof(shape)
    scratch = allocate("depthwise", pointer, torch.get_num_threads())
    call("depthwise_gradients", x.dtype, pointer, x, grad, weight, bias, scratch)
    return weight, bias


#: The same for torch.compile, which would look into it otherwise; called as it is it takes longer.
compiled_gradients = torch.library.custom_op("convnext_path::depthwise_gradients", compute_gradients, mutates_args=())


@compiled_gradients.register_fake
def _(x: Tensor, grad: Tensor, kernel: int, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    weight = x.new_empty(x.shape[1], 1, kernel, kernel, dtype=torch.float32)
    return weight, x.new_empty(x.shape[1], dtype=torch.float32)


class Convolution(torch.autograd.Function):
    """A depthwise convolution by :func:`operations`. Twice it is not differentiable."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return operations(x.device).convolve(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        x, weight = ctx.saved_tensors
        how, compute, by_x = (ctx.stride, ctx.padding), operations(x.device), None
        if ctx.needs_input_grad[0]:
            by_x = compute.input_gradient(grad, weight, x.shape[2:], *how)
        sums = compute.weight_gradient(x, grad, weight.shape[-1], *how)
        by_weight, by_bias = (sum.to(weight.dtype) for sum in sums)
        return by_x, by_weight, by_bias if ctx.needs_input_grad[2] else None, None, None


class Operations(NamedTuple):
    """A convolution's forward pass, and its gradients: by the input; by weight and bias."""

    convolve: Callable[[Tensor, Tensor, Tensor | None, int, int], Tensor]
    input_gradient: Callable[[Tensor, Tensor, Sequence[int], int, int], Tensor]
    weight_gradient: Callable[[Tensor, Tensor, int, int, int], tuple[Tensor, Tensor]]


def operations(device: torch.device) -> Operations:
    """The fastest there are: on a CPU, torch's own but for the gradient by the weight; on a GPU, Triton's."""
    if device.type == "cuda":
        from convnext_path.kernels import depthwise_triton as kernels

        return Operations(kernels.convolve, kernels.input_gradient, kernels.weight_gradient)
    weight_gradient = compiled_gradients if torch.compiler.is_compiling() else compute_gradients
    return Operations(torch_convolve, torch_input_gradient, weight_gradient)


def torch_convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))


def torch_input_gradient(grad: Tensor, weight: Tensor, size: Sequence[int], stride: int, padding: int) -> Tensor:
    """The gradient by the input (N, C, *size) by the faster of torch's own ways."""
    if stride == 1:  # a convolution with the flipped kernel: twice as fast
        with torch.autocast("cpu", enabled=False):  # types are chosen already
            return F.conv2d(grad, weight.flip(2, 3), padding=weight.shape[-1] - 1 - padding, groups=len(weight))
    like = grad.new_empty((*grad.shape[:2], *size), dtype=torch.float32)  # bfloat16 takes 30 times as long
    like = like.contiguous(memory_format=torch.channels_last)
    terms = (grad.float(), like, weight.float(), None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], len(weight))
    by_x: Tensor = torch.ops.aten.convolution_backward(*terms, [True, False, False])[0]
    return by_x.to(grad.dtype)


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """What ``conv`` makes of (N, C, H, W) where :func:`fuses` holds, in autocast's type where that is on."""
    weight, bias, padding = conv.weight, conv.bias, cast(tuple[int, int], conv.padding)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    result: Tensor = Convolution.apply(x, weight, bias, conv.stride[0], padding[0])
    return result


def fuses(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether a kernel is there and right for what is about to happen: training ``conv``."""
    return is_ready(x.device) and is_trained(conv.weight, x) and has_kernel(conv)


def is_trained(weight: Tensor, x: Tensor) -> bool:
    """Whether backward will ask for the gradient by ``weight``, in a type of the kernels'."""
    dtypes = {x.dtype, weight.dtype}
    if torch.is_autocast_enabled(x.device.type) and dtypes <= {torch.float32, torch.bfloat16}:
        dtypes = {torch.get_autocast_dtype(x.device.type)}
    return (
        torch.is_grad_enabled()
        and weight.requires_grad
        and dtypes in ({torch.float32}, {torch.bfloat16})
        and x.device == weight.device
        and x.ndim == 4
        and x.numel() > 0
    )


def has_kernel(conv: nn.Conv2d) -> bool:
    """Whether ``conv`` is depthwise and of a shape that the kernels are for."""
    size, stride, padding = conv.kernel_size[0], conv.stride[0], conv.padding[0]
    square = (conv.kernel_size, conv.stride, conv.padding) == ((size, size), (stride, stride), (padding, padding))
    depthwise = conv.groups == conv.in_channels == conv.out_channels
    plain = conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    return square and depthwise and plain and size in KERNELS and stride in (1, 2) and int(padding) < size
