"""Swin Transformer, from V1 to V2, as one network of flags.

After Liu et al., "Swin Transformer" (arXiv 2103.14030, "V1") and "Swin Transformer V2" (arXiv 2111.09883, "V2").
Images stay (N, H, W, C) between the layers.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnext_path.frozen import at_least
from convnext_path.networks.attention import WindowAttention, initialize
from convnext_path.networks.layers import DropPath, check_ends, drop_path_rates
from convnext_path.networks.transformer_flags import MAX_WINDOW, SWIN_T, SwinFlags, SwinScale


class SwinBlock(nn.Module):
    """x + attention, then x + perceptron, each with its norm and stochastic depth: (N, H, W, C) to the same."""

    def __init__(
        self, flags: SwinFlags, channels: int, heads: int, window: int, shifted: bool, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(flags, channels, heads, window, shifted)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        self.drop_path = DropPath(drop_path)
        self.post_norm = flags.post_norm

    def forward(self, x: Tensor) -> Tensor:
        for norm, branch in ((self.norm1, self.attention), (self.norm2, self.mlp)):
            x = x + self.drop_path(norm(branch(x)) if self.post_norm else branch(norm(x)))
        return x


class PatchMerging(nn.Module):
    """Each 2x2 patches become one of twice the channels: (N, H, W, C) to (N, H/2, W/2, 2C), odd sides padded."""

    def __init__(self, flags: SwinFlags, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm((2 if flags.post_norm else 4) * channels)
        self.post_norm = flags.post_norm

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1)  # N, H/2, 2, W/2, 2, C
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3)  # N, H/2, W/2, 4C: down first, then right
        x = self.norm(self.reduction(x)) if self.post_norm else self.reduction(self.norm(x))
        return x


def make_stage(
    flags: SwinFlags, channels: int, heads: int, window: int, drop_paths: list[float], merges: bool
) -> nn.Sequential:
    """To (N, H, W, channels), from as much or, where it merges patches first, from (N, 2H, 2W, channels / 2)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if merges:
        layers["merging"] = PatchMerging(flags, channels // 2)
    for j, drop_path in enumerate(drop_paths):
        shifted = flags.shifted_windows and j % 2 == 1
        layers[f"block{j}"] = SwinBlock(flags, channels, heads, window, shifted, drop_path)
    return nn.Sequential(layers)


def check_window(window: int | None, side: int) -> None:
    """Refuse windows that no padding makes sense of: larger than the image and than any that is published."""
    if window is not None and window > max(side, MAX_WINDOW):
        raise ValueError(f"window {window} is larger than the image, of {side} x {side} patches")


class SwinNet(nn.Module):
    """Any combination of the flags: (N, in_channels, H, W) to logits (N, num_classes).

    Args:
        flags: what attention does, and where the norms stand.
        scale: depths, channels, heads, sides of windows and patches.
        num_classes: logits.
        in_channels: channels of the image.
        image_size: the side in pixels that windows and patches are chosen for; with absolute position, the only one.
        drop_path: stochastic depth, the rate of the last block; rises from 0 linearly in depth.
        init_std: standard deviation of the weights' truncated normal distribution.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        flags: SwinFlags,
        scale: SwinScale = SWIN_T,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: int = 224,
        drop_path: float = 0.0,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        check_ends(in_channels, num_classes)
        self.flags, self.scale = flags, scale
        width, patch, window = scale.width, scale.choose_patch(image_size), scale.choose_window(image_size)
        at_least("image_size", image_size, patch)
        check_window(scale.window, -(-image_size // patch))
        self.patches = nn.Conv2d(in_channels, width, patch, patch)
        self.norm_patches = nn.LayerNorm(width)
        side = image_size // patch
        absolute = flags.position in ("absolute", "both")
        self.places = nn.Parameter(torch.zeros(side, side, width)) if absolute else None
        rates = iter(drop_path_rates(drop_path, sum(scale.depths)))
        stages = []
        for i, (depth, heads) in enumerate(zip(scale.depths, scale.heads, strict=True)):
            fitting = scale.window or min(window, -(-side // 2**i))  # no larger than the stage
            drop_paths = [next(rates) for _ in range(depth)]
            stages.append(make_stage(flags, width * 2**i, heads, fitting, drop_paths, merges=i > 0))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(width * 8)
        self.head = nn.Linear(width * 8, num_classes)
        initialize(self, init_std)
        if flags.post_norm:
            zero_norms(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)  # N, H/4, W/4, C
        x = self.norm_patches(x)
        x = x if self.places is None else x + self.places
        x = self.stages(x)  # N, H/32, W/32, 8C
        x = self.norm(x).mean((1, 2))  # N, 8C
        x = self.head(x)
        return x


def zero_norms(net: nn.Module) -> None:
    """As V2 is released: at first each block gives what it takes."""
    for block in net.modules():
        if isinstance(block, SwinBlock):
            nn.init.zeros_(block.norm1.weight)
            nn.init.zeros_(block.norm2.weight)
