"""The layers that the network needs and torch lacks, or has in a slower make."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnext_path import depthwise


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (N, C, H, W), at each position on its own; no copy in channels-last."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # N, H, W, C: a view
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)  # N, C, H, W


class LayerScale(nn.Module):
    """A learned factor for each channel of (N, C, H, W), all ``init`` at first (Touvron et al., CaiT)."""

    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma.view(-1, 1, 1)


class DepthwiseConv2d(nn.Conv2d):
    """nn.Conv2d with as many groups as channels, (N, C, H, W) to (N, C, H', W'); see ``depthwise.py``.

    To the bit nn.Conv2d's own output; gradients are rounded otherwise, and have no gradients of their own.
    """

    def forward(self, x: Tensor) -> Tensor:
        return depthwise.convolve(self, x) if depthwise.fuses(self, x) else super().forward(x)
