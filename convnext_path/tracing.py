"""Counts what a network costs: by fvcore, from one pass of an image through it, and what a step keeps. No data."""

import copy
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from convnext_path.costs import ATTENTION, Cost, Kept
from convnext_path.frozen import at_least


def cost(net: nn.Module, image_size: int = 224, in_channels: int = 3) -> Cost:
    """Count what ``net`` costs per image of shape (in_channels, image_size, image_size). ``net`` is not changed.

    The network may be on the meta device, because its weights are not read.

    Raises:
        ValueError: an image size or a number of channels below 1.
    """
    at_least("image_size", image_size, 1)
    at_least("in_channels", in_channels, 1)
    # Values have no say in the counts, but tracing needs tensors with storage, and zeros are quick to compute with.
    net = copy.deepcopy(net).to_empty(device="cpu").eval()
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.detach().zero_()
    image = torch.zeros(1, in_channels, image_size, image_size)
    params = sum(p.numel() for p in net.parameters())
    macs, activations = _trace(net, image)
    return Cost(params, tuple(sorted(macs.items(), key=lambda item: -item[1])), activations)


def count_attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> Counter[str]:
    """Of fused attention, which fvcore does not count: queries by keys, and their weights by values."""
    (*heads, queries, channels), keys = (tensor.type().sizes() for tensor in inputs[:2])
    return Counter({ATTENTION: 2 * prod(heads) * queries * keys[-2] * channels})


@contextmanager
def whole_attention() -> Iterator[None]:
    """Without torch's shortcut through ``nn.MultiheadAttention``, one operator that hides its products."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@torch.no_grad()
def _trace(net: nn.Module, image: Tensor) -> tuple[dict[str, int], int]:
    """Multiply-accumulates by operator, and activations, from one pass through the network."""
    sizes: list[int] = []
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(lambda _layer, _inputs, output: sizes.append(int(output.numel())))
    with warnings.catch_warnings(), whole_attention():  # fvcore traces with torch.jit, which newer torch deprecates
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(net, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.set_op_handle(f"aten::{ATTENTION}", count_attention)
        macs = {operator: int(n) for operator, n in analysis.by_operator().items()}
    return macs, sum(sizes)


def count_kept(net: nn.Module, image_size: int = 224, in_channels: int = 3) -> Kept:
    """What a training step of a network on the meta device keeps for its backward pass, of each image more."""
    with torch.device("meta"):  # BatchNorm may want two images
        two, three = (count_saved(net, torch.empty(n, in_channels, image_size, image_size)) for n in (2, 3))
    return Kept(three - two)


def count_saved(net: nn.Module, images: Tensor) -> int:
    """Elements that a pass forward saves for the one back, weights aside."""
    saved = dict[int, Tensor]()

    def save(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with saved_tensors_hooks(save, lambda tensor: tensor):
        net(images)
    return sum(tensor.numel() for tensor in saved.values())
