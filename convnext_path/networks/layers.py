"""The layers that the network needs and torch lacks, or has in a slower make."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnext_path.frozen import at_least, within
from convnext_path.kernels import build, channels, depthwise, gelu
from convnext_path.processes import average, rank_and_size

#: Patches up to which a matrix product is their faster convolution. For 24 to 3,072 channels, sides 1, 2 and 4, 1 and 2
#: threads, forward and backward pass, it takes 0.1 to 0.9 of the time for up to 2,048 patches in bfloat16, and for 64
#: in float32; from 4,096, or 256, on it takes as long or twice as long (EPYC with AVX-512).
FEW = {("cpu", torch.bfloat16): 2048, ("cpu", torch.float32): 64}


def check_ends(in_channels: int, num_classes: int) -> None:
    """Raise a ValueError unless a network has a channel to see and a class to tell at least."""
    at_least("num_classes", num_classes, 1)
    at_least("in_channels", in_channels, 1)


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (N, C, H, W), at each position on its own; no copy in channels-last.

    In bfloat16 on a CPU, gradients have no gradients of their own.
    """

    def forward(self, x: Tensor) -> Tensor:
        if channels.layer_normalizes(self, x):
            y: Tensor = channels.LayerNorm.apply(x, self.weight, self.bias, self.eps)
            return y
        x = x.permute(0, 2, 3, 1)  # N, H, W, C: a view
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)  # N, C, H, W


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d, to the bit; gradients are rounded otherwise, and have no gradients of their own.

    ``synced``: it trains by the statistics of all processes' images, of which each has as many. (torch's SyncBatchNorm
    takes no tensors of a CPU.)
    """

    synced = False

    def forward(self, x: Tensor) -> Tensor:
        if self.synced and self.training:
            return self._normalize_together(x.float()).to(x.dtype)
        if not channels.batch_normalizes(self, x):
            return super().forward(x)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        y: Tensor = channels.BatchNorm.apply(x, self, self.weight, self.bias)
        return y

    def _normalize_together(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        mean = average(x.mean((0, 2, 3)))  # C
        centered = x - mean[:, None, None]
        var = average(centered.square().mean((0, 2, 3)))  # C
        _, size = rank_and_size()
        count = size * x.numel() // x.shape[1]
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum or 0.0)
        scale = self.weight * torch.rsqrt(var + self.eps)
        return centered * scale[:, None, None] + self.bias[:, None, None]


class DropPath(nn.Module):
    """Stochastic depth: in training each image's part is zero at ``rate``, and else larger in proportion.

    Of the processes that train together each draws for the whole batch, and takes its own part (Huang et al., arXiv
    1603.09382).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        rank, size = rank_and_size()
        shape = size * len(x), *(x.ndim - 1) * (1,)
        kept = torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - self.rate)
        kept = kept[rank * len(x) :][: len(x)]
        return x * (kept / (1 - self.rate) if self.rate < 1 else kept)


def drop_path_rates(last: float, blocks: int) -> list[float]:
    """Of stochastic depth: from 0 in the first block to ``last`` in the last, linearly in depth.

    Raises:
        ValueError: ``last`` is not between 0 and 1.
    """
    within("drop_path", last, 0.0, 1.0)
    rates: list[float] = torch.linspace(0, last, blocks, device="cpu").tolist()
    return rates


class GELU(nn.GELU):
    """nn.GELU, but for rounding; gradients have no gradients of their own."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = gelu.Gelu.apply(x) if build.computes(x) else super().forward(x)
        return y


class LayerScale(nn.Module):
    """A learned factor for each channel of (N, C, H, W), all ``init`` at first (Touvron et al., CaiT).

    On a CPU, gradients have no gradients of their own.
    """

    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), init))

    def forward(self, x: Tensor) -> Tensor:
        if channels.scales(self.gamma, x):
            y: Tensor = channels.ScaleChannels.apply(x, self.gamma)
            return y
        return x * self.gamma.view(-1, 1, 1)


class PatchConv2d(nn.Conv2d):
    """nn.Conv2d of a side that is its stride, but for rounding: a matrix product for few patches, where that is faster.

    Torch packs the weights for each convolution, which takes longer than the work on few patches.
    """

    def forward(self, x: Tensor) -> Tensor:
        side = self.stride[0]
        if not build.is_ready(x.device) or x.ndim != 4 or x[:, 0].numel() > FEW.get(compute_type(x), 0) * side**2:
            return super().forward(x)
        x = F.linear(cut(x, side), self.weight.permute(0, 2, 3, 1).flatten(1), self.bias)
        return x.permute(0, 3, 1, 2)  # N, O, H / side, W / side


def cut(x: Tensor, side: int) -> Tensor:
    """The patches of (N, C, H, W): (N, H / side, W / side, side * side * C). What is left at the ends is left out."""
    height, width = (length // side * side for length in x.shape[2:])
    x = x[:, :, :height, :width].permute(0, 2, 3, 1)
    x = x.reshape(len(x), height // side, side, width // side, side, x.shape[-1])
    return x.transpose(2, 3).flatten(3)


def compute_type(x: Tensor) -> tuple[str, torch.dtype]:
    """Where and in what a layer of matrix products computes on ``x``."""
    device = x.device.type
    return device, torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class DepthwiseConv2d(nn.Conv2d):
    """nn.Conv2d with as many groups as channels, (N, C, H, W) to (N, C, H', W').

    On a CPU to the bit nn.Conv2d's own output; gradients are rounded otherwise, and have no gradients of their own.
    """

    def forward(self, x: Tensor) -> Tensor:
        return depthwise.convolve(self, x) if depthwise.fuses(self, x) else super().forward(x)
