import pytest
import torch
from torch.testing import assert_close

from convnext_path.layers import LayerNorm2d, LayerScale


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_layer_norm_normalizes_channels_at_each_position(memory_format: torch.memory_format) -> None:
    norm = LayerNorm2d(6, eps=1e-6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 6, 3, 5).contiguous(memory_format=memory_format)
    mean, var = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
    plain = (x - mean) / (var + 1e-6).sqrt() * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
    assert_close(norm(x), plain, atol=1e-5, rtol=1e-5)


def test_layer_norm_keeps_channels_last() -> None:
    x = torch.randn(2, 6, 4, 4).contiguous(memory_format=torch.channels_last)
    assert LayerNorm2d(6)(x).is_contiguous(memory_format=torch.channels_last)


def test_layer_scale() -> None:
    scale = LayerScale(3, 0.5)
    x = torch.randn(2, 3, 4, 5)
    assert_close(scale(x), x / 2)
    scale.gamma.data = torch.tensor([0.0, 1.0, 2.0])
    assert_close(scale(x)[:, 2], 2 * x[:, 2])
