from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnext_path.networks.attention import WindowAttention
from convnext_path.networks.transformer_flags import SWIN, SWIN_V2, SwinFlags
from tests.networks.conftest import randomize


def attend_slowly(layer: WindowAttention, x: Tensor) -> Tensor:
    """Place by place: each attends to those of its window that were its neighbors before the shift."""
    window, (_, height, width, channels) = layer.window, x.shape
    sides = [-(-side // window) * window for side in (height, width)]
    x = F.pad(x, (0, 0, 0, sides[1] - width, 0, sides[0] - height))
    bias = layer.qkv.bias.clone()
    if layer.flags.cosine_attention:
        bias[channels : 2 * channels] = 0
    q, k, v = F.linear(x[0], layer.qkv.weight, bias).split(channels, -1)
    shifts = [layer.shift if side > window else 0 for side in sides]
    out = torch.zeros(height, width, channels)
    places = list(product(range(sides[0]), range(sides[1])))
    moved = {place: tuple((i - s) % side for i, s, side in zip(place, shifts, sides, strict=True)) for place in places}
    table = layer.position() if layer.position else None
    for here in product(range(height), range(width)):
        near = [there for there in places if is_near(moved[here], moved[there], window, shifts, sides)]
        for head in range(layer.heads):
            part = slice(head * channels // layer.heads, (head + 1) * channels // layer.heads)
            query, keys, values = q[here][part], *(torch.stack([t[place][part] for place in near]) for t in (k, v))
            if layer.flags.cosine_attention:
                logits = F.cosine_similarity(query, keys) * layer.log_scale[head, 0, 0].clamp(max=4.6051702).exp()
            else:
                logits = keys @ query / len(query) ** 0.5
            if not layer.flags.appearance:
                logits = torch.zeros_like(logits)
            if table is not None:
                own = number(moved[here], window)
                logits = logits + torch.stack([table[head, own, number(moved[place], window)] for place in near])
            out[here][part] = logits.softmax(0) @ values
    return layer.proj(out)[None]


def is_near(a: tuple[int, ...], b: tuple[int, ...], window: int, shifts: list[int], sides: list[int]) -> bool:
    """In one window, and neither of them brought there from the other end of the image."""
    return all(
        i // window == j // window and (i >= side - shift) == (j >= side - shift)
        for i, j, shift, side in zip(a, b, shifts, sides, strict=True)
    )


def number(place: tuple[int, ...], window: int) -> int:
    return place[0] % window * window + place[1] % window


@pytest.mark.parametrize("side", [(6, 6), (7, 5), (3, 8), (2, 3)])
@pytest.mark.parametrize(
    "flags", [SWIN, SWIN_V2, SwinFlags(True), SwinFlags(position="both"), SwinFlags(True, "relative", False)]
)
@torch.no_grad()
def test_windows_and_shifts_are_those_of_a_plain_loop(flags: SwinFlags, side: tuple[int, int]) -> None:
    layer = WindowAttention(flags, 8, heads=2, window=3, shifted=flags.shifted_windows)
    randomize(layer)
    x = torch.randn(1, *side, 8)
    assert torch.allclose(layer(x), attend_slowly(layer, x), atol=1e-5)


def test_an_offset_has_one_number_wherever_it_is() -> None:
    layer = WindowAttention(SWIN, 8, heads=2, window=3, shifted=False)
    assert layer.position is not None
    randomize(layer)
    bias = layer.position().unflatten(1, (3, 3)).unflatten(3, (3, 3))
    assert torch.equal(bias[:, 0, 0, 1, 2], bias[:, 1, 0, 2, 2])
    assert not torch.equal(bias[:, 0, 0, 1, 2], bias[:, 0, 0, 2, 1])
