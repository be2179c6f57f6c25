"""Vision Transformer as one network of flags.

After Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv 2010.11929); pooling and sinusoidal positions after
Beyer et al., "Better plain ViT baselines for ImageNet-1k" (arXiv 2205.01580).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnext_path.frozen import at_least
from convnext_path.networks.attention import Attention, initialize
from convnext_path.networks.layers import DropPath, check_ends, drop_path_rates
from convnext_path.networks.transformer_flags import VIT_S, ViTFlags, ViTScale


class ViTBlock(nn.Module):
    """x + attention, then x + perceptron, each behind its norm: (N, tokens, C) to the same."""

    def __init__(self, channels: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attention = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attention(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x


class ViTNet(nn.Module):
    """Any combination of the flags: (N, in_channels, S, S) to logits (N, num_classes).

    Args:
        flags: class token or pooling, and positions.
        scale: depth, channels, heads, side of a patch.
        num_classes: logits.
        in_channels: channels of the image.
        image_size: the side S in pixels; what patches do not cover at the right and the bottom is not seen.
        drop_path: stochastic depth, the rate of the last block; rises from 0 linearly in depth.
        init_std: standard deviation of the weights' truncated normal distribution.

    Raises:
        ValueError: an argument out of range.
    """

    places: Tensor | None

    def __init__(
        self,
        flags: ViTFlags,
        scale: ViTScale = VIT_S,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: int = 224,
        drop_path: float = 0.0,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        check_ends(in_channels, num_classes)
        self.flags, self.scale = flags, scale
        width, patch = scale.width, scale.choose_patch(image_size)
        at_least("image_size", image_size, patch)
        side = image_size // patch
        self.patches = nn.Conv2d(in_channels, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width)) if flags.class_token else None
        tokens, sines = int(flags.class_token) + side * side, None
        if flags.position == "learned":
            self.places = nn.Parameter(torch.zeros(1, tokens, width))
        else:
            if flags.position == "sinusoidal":
                sines = F.pad(make_sines(side, width), (0, 0, int(flags.class_token), 0))
            self.register_buffer("places", sines, persistent=False)
        rates = drop_path_rates(drop_path, scale.depth)
        self.blocks = nn.Sequential(*(ViTBlock(width, scale.heads, rate) for rate in rates))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)
        initialize(self, init_std)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)  # N, patches, C
        if self.token is not None:
            x = torch.cat((self.token.expand(len(x), -1, -1), x), 1)
        x = x if self.places is None else x + self.places
        x = self.norm(self.blocks(x))  # N, tokens, C
        x = x.mean(1) if self.token is None else x[:, 0]
        x = self.head(x)
        return x


def make_sines(side: int, width: int) -> Tensor:
    """Sines and cosines of column and row, of wavelengths from 2π to 10,000 times that: (side², width)."""
    slow = 10_000 ** -torch.linspace(0, 1, width // 4)
    rows, columns = torch.meshgrid(2 * [torch.arange(float(side))], indexing="ij")
    angles = [place.reshape(-1, 1) * slow for place in (columns, rows)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)
