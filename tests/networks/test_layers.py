import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from torchvision.ops import StochasticDepth

from convnext_path import cost
from convnext_path.kernels.build import use_kernels
from convnext_path.networks.layers import (
    FEW,
    BatchNorm2d,
    DropPath,
    LayerNorm2d,
    LayerScale,
    PatchConv2d,
    drop_path_rates,
)
from tests.kernels.conftest import distance, draw, gradients, needs_kernels


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


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("train", [True, False])
def test_drop_path_is_torchvisions_and_draws_for_all_processes(
    rate: float, train: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, layer, plain = torch.randn(12, 3, 4, 4), DropPath(rate).train(train), StochasticDepth(rate, "row").train(train)
    torch.manual_seed(0)
    expected = plain(x)
    for size in (1, 3):
        for rank, part in enumerate(x.chunk(size)):
            monkeypatch.setattr("convnext_path.networks.layers.rank_and_size", lambda place=(rank, size): place)
            torch.manual_seed(0)
            assert torch.equal(layer(part), expected.chunk(size)[rank])


def test_a_synced_batch_norm_alone_is_torchs() -> None:
    ours, plain = BatchNorm2d(6), nn.BatchNorm2d(6)
    ours.synced = True
    x = draw(4, 6, 5, 3)
    for layer in (ours, plain):
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(0.5, 2, 6))
            layer.bias.copy_(torch.linspace(-1, 1, 6))
    results = []
    for layer in (ours, plain):
        y = layer(x.clone().requires_grad_())
        results.append((y, *torch.autograd.grad((y * torch.arange(90.0).view(6, 5, 3)).sum(), [*layer.parameters()])))
    for one, other in zip(*results, strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-4)
    for one, other in zip(ours.buffers(), plain.buffers(), strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert_close(ours.eval()(x), plain.eval()(x))


def test_layer_scale() -> None:
    scale = LayerScale(3, 0.5)
    x = torch.randn(2, 3, 4, 5)
    assert_close(scale(x), x / 2)
    scale.gamma.data = torch.tensor([0.0, 1.0, 2.0])
    assert_close(scale(x)[:, 2], 2 * x[:, 2])


@needs_kernels
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("side", [1, 2, 4])
def test_convolutions_of_patches_are_matrix_products_where_these_are_few(
    autocast: bool, channels_last: bool, bias: bool, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    products, linear = [], F.linear
    monkeypatch.setattr(F, "linear", lambda *terms: products.append(1) or linear(*terms))
    few = FEW["cpu", torch.bfloat16 if autocast else torch.float32]
    conv = PatchConv2d(12, 20, side, side, bias=bias)
    for columns, expected in ((few, 1), (few + 1, 0)):
        x = draw(1, 12, side, columns * side, channels_last=channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y, found = conv(x), gradients(conv, x)
            assert len(products) == 2 * expected
            with use_kernels("stock"):
                wanted, right = conv(x), gradients(conv, x)
        assert len(products) == 2 * expected
        assert (y.dtype, y.shape) == (wanted.dtype, wanted.shape)
        for ours, theirs in zip([y, *found], [wanted, *right], strict=True):
            assert distance(ours.detach(), theirs.detach()) < (1e-2 if autocast else 1e-6)
        products.clear()


@needs_kernels
def test_a_patch_that_is_cut_off_is_left_out() -> None:
    conv, x = PatchConv2d(3, 5, 2, 2), draw(2, 3, 5, 7)
    with use_kernels("stock"):
        wanted = conv(x)
    assert_close(conv(x), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("side", [1, 2])
def test_a_convolution_of_patches_counts_as_one(side: int) -> None:
    ours, stock = PatchConv2d(3, 8, side, side), nn.Conv2d(3, 8, side, side)
    assert ours.state_dict().keys() == stock.state_dict().keys()
    assert cost(nn.Sequential(ours), 4) == cost(nn.Sequential(stock), 4)


def test_rates_of_stochastic_depth_rise_linearly() -> None:
    assert drop_path_rates(0.2, 3) == pytest.approx([0.0, 0.1, 0.2])
    assert drop_path_rates(0.2, 1) == [0.0]
    with pytest.raises(ValueError, match="drop_path must be between 0.0 and 1.0, got 1.5"):
        drop_path_rates(1.5, 3)
