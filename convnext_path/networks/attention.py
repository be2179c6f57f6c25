"""What transformers are made of: attention to all tokens, as in ViT, and to a window's, as in Swin; how they begin.

Swin's images stay (N, H, W, C) between the layers. Sides that windows do not divide are padded with zeros at the right
and the bottom, as torchvision pads them.
"""

from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnext_path.networks.transformer_flags import SwinFlags


class Attention(nn.Module):
    """Attention of each token to all: (N, tokens, C) to the same."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            self.qkv(x).reshape(*x.shape[:-1], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )  # each N, heads, tokens, d
        x = F.scaled_dot_product_attention(q, k, v)
        x = self.proj(x.transpose(1, 2).flatten(2))
        return x


class RelativePosition(nn.Module):
    """A number for each head and each pair of places in a window: (heads, w², w²)."""

    index: Tensor
    offsets: Tensor

    def __init__(self, flags: SwinFlags, heads: int, window: int) -> None:
        super().__init__()
        self.continuous, self.window = flags.continuous_position, window
        places = torch.stack(torch.meshgrid(2 * [torch.arange(window)], indexing="ij")).flatten(1)  # 2, w²
        rows, columns = places[:, :, None] - places[:, None, :] + window - 1  # each w², w²
        self.register_buffer("index", (rows * (2 * window - 1) + columns).flatten())  # w⁴, of places in the table
        if self.continuous:
            layers = nn.Linear(2, 512), nn.ReLU(inplace=True), nn.Linear(512, heads, bias=False)
            self.network = nn.Sequential(*layers)
            steps = torch.arange(1.0 - window, window) / max(window - 1, 1) * 8
            steps = steps.sign() * torch.log2(steps.abs() + 1) / 3  # from -log 9 / log 8 to as much
            grid = torch.stack(torch.meshgrid(2 * [steps], indexing="ij"), -1)
            self.register_buffer("offsets", grid.unsqueeze(0))  # 1, 2w - 1, 2w - 1, 2
        else:
            self.table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))

    def forward(self) -> Tensor:
        table: Tensor = self.network(self.offsets).flatten(0, 2) if self.continuous else self.table
        bias = table[self.index].T.reshape(table.shape[1], self.window**2, self.window**2)
        return 16 * torch.sigmoid(bias) if self.continuous else bias


class WindowAttention(nn.Module):
    """Attention of each place to all places of its window: (N, H, W, C) to the same."""

    def __init__(self, flags: SwinFlags, channels: int, heads: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.flags, self.heads, self.window = flags, heads, window
        self.shift = window // 2 if shifted else 0
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        relative = flags.position in ("relative", "both")
        self.position = RelativePosition(flags, heads, window) if relative else None
        if flags.cosine_attention and flags.appearance:
            self.log_scale = nn.Parameter(torch.full((heads, 1, 1), log(10)))

    def forward(self, x: Tensor) -> Tensor:
        height, width, window = x.shape[1], x.shape[2], self.window
        x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
        down, right = (self.shift if side > window else 0 for side in x.shape[1:3])
        x = x.roll((-down, -right), (1, 2))
        n, rows, columns = len(x), x.shape[1] // window, x.shape[2] // window
        x = x.reshape(n, rows, window, columns, window, -1).transpose(2, 3)  # N, rows, columns, w, w, C
        x = x.reshape(n, rows * columns, window**2, -1)
        x = self.attend(x, self.mask(rows, columns, down, right, x))
        x = x.reshape(n, rows, columns, window, window, -1).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        x = x.roll((down, right), (1, 2))
        return x[:, :height, :width]

    def attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Windows of (N, windows, w², C) to the same; ``mask``, added to logits, is (windows, 1, w², w²)."""
        qkv = self.qkv(x).reshape(*x.shape[:-1], 3, self.heads, -1)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)  # each N, windows, heads, w², d
        if self.flags.cosine_attention:
            _, key_bias, _ = self.qkv.bias.reshape(3, self.heads, 1, -1)
            q, k = F.normalize(q, dim=-1), F.normalize(k - key_bias, dim=-1)
        scale = self.log_scale.clamp(max=log(100)).exp() if hasattr(self, "log_scale") else q.shape[-1] ** -0.5
        q = q * scale
        logits = q @ k.transpose(-2, -1) if self.flags.appearance else q.new_zeros(*q.shape[:-1], q.shape[-2])
        if self.position is not None:
            logits = logits + self.position()
        if mask is not None:
            logits = logits + mask
        x = (logits.softmax(-1) @ v).transpose(2, 3).flatten(3)
        x = self.proj(x)
        return x

    def mask(self, rows: int, columns: int, down: int, right: int, like: Tensor) -> Tensor | None:
        """-100 between places of a window that the shift has brought together from opposite ends of the image."""
        if not down and not right:
            return None
        window = self.window
        vertical = number_regions(rows, window, down, like.device)
        ids = 3 * vertical[:, None] + number_regions(columns, window, right, like.device)
        ids = ids.reshape(rows, window, columns, window).transpose(1, 2)  # rows, columns, w, w
        ids = ids.reshape(rows * columns, 1, window**2)
        apart = ids.unsqueeze(-1) != ids.unsqueeze(-2)
        return -100.0 * apart.to(like)


def number_regions(windows: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Along a side: 0 in whole windows, 1 and 2 in the two parts of a last one that a shift has put together."""
    place = torch.arange(windows * window, device=device)
    return ((place >= (windows - 1) * window).long() + (place >= windows * window - shift)) * (shift > 0)


def initialize(net: nn.Module, std: float) -> None:
    """As transformers are released: weights and positions from a truncated normal distribution, biases 0."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for name, parameter in net.named_parameters():
        if name.endswith(("table", "places")):
            nn.init.trunc_normal_(parameter, std=std)
