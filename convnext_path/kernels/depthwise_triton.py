"""Depthwise convolutions on a GPU, in Triton: the forward pass and the gradients by input, weight and bias.

On channels-last tensors in half precision torch's own are slow (PyTorch issues 18631, 1708, 34977). Sums are float32,
and added in an order that follows from the shape alone: no atomics, and no tuning by the clock. Importing this needs
Triton. It is tested by Triton's interpreter, on a CPU.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, no-untyped-call, untyped-decorator"

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 32  # channels of a program: a cache line of float32
OUTPUTS = 64  # pixels of a program that gathers: with BLOCK, 16 sums a thread
PIXELS = 32  # pixels that a program of the weight gradient sees at once: with BLOCK, 8 sums a thread and tap
PROGRAMS = 1024  # of the weight gradient, about: what a large GPU holds at a time
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}  # Triton 3.9 warns where the latter is left to its default


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """A depthwise convolution of ``x``, in its type and channels-last.

    Args:
        x: (N, C, H, W), float32, bfloat16 or float16. Copied unless it is channels-last.
        weight, bias: (C, 1, kernel, kernel) and (C) or None, floats of any type.
        stride, padding: for height and width alike.
    """
    size = [(side + 2 * padding - weight.shape[-1]) // stride + 1 for side in x.shape[2:]]
    return gather(x, weight, bias, size, stride, padding, transposed=False)


def input_gradient(grad: Tensor, weight: Tensor, size: Sequence[int], stride: int, padding: int) -> Tensor:
    """The gradient by the input (N, C, *size), channels-last and in the type of ``grad``.

    Args:
        grad: the gradient by the output, (N, C, H, W), float32, bfloat16 or float16. Copied unless it is channels-last.
        weight, stride, padding: as for :func:`convolve`.
        size: height and width of the convolution's input.
    """
    return gather(grad, weight, None, size, stride, padding, transposed=True)


def gather(
    source: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    size: Sequence[int],
    stride: int,
    padding: int,
    transposed: bool,
) -> Tensor:
    """Each pixel of a result of ``size`` sums up the source's pixels that the kernel ties it to."""
    source = source.contiguous(memory_format=torch.channels_last)
    (images, channels), kernel = source.shape[:2], weight.shape[-1]
    result = torch.empty(
        (images, channels, *size), dtype=source.dtype, device=source.device, memory_format=torch.channels_last
    )
    taps = weight.reshape(channels, kernel * kernel).t()
    taps = taps.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    _, pixels = count_pixels(source), count_pixels(result)
    grid = (triton.cdiv(pixels, OUTPUTS), triton.cdiv(channels, BLOCK))
    shape = (pixels, *source.shape[2:], *size, padding)
    with torch.cuda.device_of(source):
        gather_kernel[grid](
            source, taps, bias, result, *shape, channels, kernel, stride, transposed, OUTPUTS, BLOCK, **OPTIONS
        )
    return result


def weight_gradient(x: Tensor, grad: Tensor, kernel: int, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    """Gradients by the weight (C, 1, kernel, kernel) and the bias (C), float32 whatever the inputs are.

    Args:
        x, grad: the convolution's input (N, C, H, W) and the gradient by its output, float32, bfloat16 or float16.
            Copied unless they are channels-last.
        kernel, stride, padding: of the convolution, for height and width alike.
    """
    x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
    _, pixels = count_pixels(x), count_pixels(grad)
    channels, blocks = x.shape[1], triton.cdiv(x.shape[1], BLOCK)
    # Pixels of a program: whole tiles, and several, so that writing sums stays the smaller part.
    share = PIXELS * max(4, triton.cdiv(pixels * kernel * blocks, PIXELS * PROGRAMS))
    chunks = max(1, triton.cdiv(pixels, share))
    by_weight = x.new_empty((chunks, kernel * kernel, channels), dtype=torch.float32)
    by_bias = x.new_empty((chunks, channels), dtype=torch.float32)
    shape = (pixels, share, *x.shape[2:], *grad.shape[2:], padding)
    with torch.cuda.device_of(x):
        weight_gradient_kernel[kernel, blocks, chunks](
            x, grad, by_weight, by_bias, *shape, channels, kernel, stride, PIXELS, BLOCK, **OPTIONS
        )
    return by_weight.sum(0).t().reshape(channels, 1, kernel, kernel).contiguous(), by_bias.sum(0)


def count_pixels(t: Tensor) -> int:
    """How many pixels the images have. The kernels count pixels in 32 bits, elements in 64."""
    pixels = t.shape[0] * t.shape[2] * t.shape[3]
    if pixels > 2**30:
        raise ValueError(f"{pixels:,} pixels are too many")
    return pixels


@triton.jit
def gather_kernel(
    source,
    weight,
    bias,
    result,
    pixels,
    source_height,
    source_width,
    height,
    width,
    padding,
    channels: tl.constexpr,
    kernel: tl.constexpr,
    stride: tl.constexpr,
    transposed: tl.constexpr,
    tile: tl.constexpr,
    block: tl.constexpr,
):
    pixel = tl.program_id(0) * tile + tl.arange(0, tile)
    channel = tl.program_id(1) * block + tl.arange(0, block)
    image, y, x = locate(pixel, height, width)
    sums = tl.full([tile, block], 0.0, tl.float32)
    for ky in range(kernel):
        row = find_source(y, ky, padding, stride, transposed)
        for kx in tl.static_range(kernel):
            column = find_source(x, kx, padding, stride, transposed)
            values = read(source, image, row, column, source_height, source_width, channel, pixel < pixels, channels)
            sums += values * read_vector(weight, ky * kernel + kx, channel, channels)
    if bias is not None:
        sums += read_vector(bias, 0, channel, channels)
    mask = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    offset = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
    tl.store(result + offset, sums.to(result.dtype.element_ty), mask=mask)


@triton.jit
def weight_gradient_kernel(
    x,
    grad,
    by_weight,
    by_bias,
    pixels,
    share,
    height,
    width,
    grad_height,
    grad_width,
    padding,
    channels: tl.constexpr,
    kernel: tl.constexpr,
    stride: tl.constexpr,
    tile: tl.constexpr,
    block: tl.constexpr,
):
    ky, chunk = tl.program_id(0), tl.program_id(2)
    channel = tl.program_id(1) * block + tl.arange(0, block)
    bias_sums = tl.full([tile, block], 0.0, tl.float32)
    sums = (bias_sums,) * kernel
    for first in range(chunk * share, tl.minimum((chunk + 1) * share, pixels), tile):
        pixel = first + tl.arange(0, tile)
        image, grad_y, grad_x = locate(pixel, grad_height, grad_width)
        weights = read(grad, image, grad_y, grad_x, grad_height, grad_width, channel, pixel < pixels, channels)
        row = find_source(grad_y, ky, padding, stride, False)
        more = ()
        for kx in tl.static_range(kernel):
            column = find_source(grad_x, kx, padding, stride, False)
            values = read(x, image, row, column, height, width, channel, pixel < pixels, channels)
            more += (sums[kx] + values * weights,)  # type: ignore[assignment]
        sums = more
        bias_sums += weights
    for kx in tl.static_range(kernel):
        at = by_weight + ((chunk * kernel + ky) * kernel + kx) * channels + channel
        tl.store(at, tl.sum(sums[kx], 0), mask=channel < channels)
    if ky == 0:
        tl.store(by_bias + chunk * channels + channel, tl.sum(bias_sums, 0), mask=channel < channels)


@triton.jit
def locate(pixel, height, width):
    row = pixel // width
    return row // height, row % height, pixel % width


@triton.jit
def find_source(position, tap, padding, stride: tl.constexpr, transposed: tl.constexpr):
    if transposed:
        distance = position + padding - tap
        return tl.where(distance % stride == 0, distance // stride, -1)
    else:
        return position * stride + tap - padding


@triton.jit
def read(images, image, row, column, height, width, channel, there, channels: tl.constexpr):
    there = there & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    offset = ((image * height + row) * width + column).to(tl.int64) * channels
    mask = there[:, None] & (channel < channels)[None, :]
    return tl.load(images + offset[:, None] + channel[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def read_vector(vectors, index, channel, channels: tl.constexpr):
    return tl.load(vectors + index * channels + channel, mask=channel < channels, other=0.0).to(tl.float32)[None, :]
