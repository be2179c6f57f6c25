"""The layers that the network needs and torch lacks, or has in a slower make."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnext_path.kernels import build, depthwise, pointwise

#: Positions (images, rows, columns) up to which a matrix product is the faster 1x1 convolution. For 24 to 3,072
#: channels, 1 and 2 threads, forward and backward pass, it takes 0.1 to 0.9 of the time for up to 1,568 positions in
#: bfloat16, and for 64 in float32; from 4,096, or 256, on it takes as long or twice as long (EPYC with AVX-512).
FEW = {("cpu", torch.bfloat16): 2048, ("cpu", torch.float32): 64}


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (N, C, H, W), at each position on its own; no copy in channels-last."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # N, H, W, C: a view
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)  # N, C, H, W


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d, to the bit; gradients are rounded otherwise, and have no gradients of their own."""

    def forward(self, x: Tensor) -> Tensor:
        return pointwise.normalize(self, x) if pointwise.normalizes(self, x) else super().forward(x)


class GELU(nn.GELU):
    """nn.GELU, but for rounding; gradients have no gradients of their own."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = pointwise.Gelu.apply(x) if pointwise.computes(x) else super().forward(x)
        return y


class LayerScale(nn.Module):
    """A learned factor for each channel of (N, C, H, W), all ``init`` at first (Touvron et al., CaiT)."""

    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma.view(-1, 1, 1)


class PointwiseConv2d(nn.Conv2d):
    """nn.Conv2d of side and stride 1, but for rounding: a matrix product for few positions, where that is faster.

    Torch packs the weights for each convolution, which takes longer than the work on few positions.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not build.is_ready(x.device) or x.ndim != 4 or x[:, 0].numel() > FEW.get(compute_type(x), 0):
            return super().forward(x)
        x = F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return x.permute(0, 3, 1, 2)  # N, C, H, W


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
