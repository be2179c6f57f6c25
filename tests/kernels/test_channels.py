import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convnext_path import CONVNEXT, Flags, PathNet, cost
from convnext_path.kernels import channels
from convnext_path.kernels.build import use_kernels
from convnext_path.networks.layers import BatchNorm2d, LayerNorm2d, LayerScale
from tests.conftest import TINY
from tests.kernels.conftest import (
    DTYPES,
    TARGETS,
    TOLERANCE,
    check_is_torchs_own,
    check_refusal,
    check_threads,
    distance,
    draw,
    gradients,
    needs_kernels,
    run_sanitized,
)

#: Of images: so many channels, images, and rows and columns.
SHAPE: dict[str, Any] = {
    "width": st.integers(1, 80),
    "images": st.integers(1, 9),
    "sides": st.tuples(st.integers(1, 12), st.integers(2, 12)),
}

kernels_of_ours = pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (BatchNorm2d, torch.float32),
        (BatchNorm2d, torch.bfloat16),
        (LayerNorm2d, torch.bfloat16),
        (partial(LayerScale, init=0.5), torch.float32),
        (partial(LayerScale, init=0.5), torch.bfloat16),
    ],
)


@needs_kernels
@settings(deadline=None, max_examples=100)
@given(
    **SHAPE,
    dtype=st.sampled_from(DTYPES),
    offset=st.sampled_from([0.0, 30.0]),
    channels_last=st.booleans(),
)
def test_gradients_of_a_batch_norm_are_those_of_double_precision(
    width: int, images: int, sides: tuple[int, int], dtype: torch.dtype, offset: float, channels_last: bool
) -> None:
    layer = BatchNorm2d(width)
    nn.init.normal_(layer.weight)
    x = (draw(images, width, *sides).detach() + offset).to(dtype).requires_grad_()
    assert channels.batch_normalizes(layer, x)
    by = draw(images, width, *sides, dtype=dtype, channels_last=channels_last).detach()
    right = gradients(copy.deepcopy(layer).double(), x.detach().double().requires_grad_(), by)
    with use_kernels("stock"):
        torchs = gradients(layer, x, by)
    for found, theirs, wanted in zip(gradients(layer, x, by), torchs, right, strict=True):
        assert found.dtype == theirs.dtype
        assert found.shape == wanted.shape
        assert distance(found, wanted) < max(TOLERANCE[dtype], 2 * distance(theirs, wanted))


@needs_kernels
@pytest.mark.parametrize("autocast", [False, True])
def test_outputs_and_statistics_of_a_batch_norm_are_torchs_to_the_bit(autocast: bool, calls: list[str]) -> None:
    ours, theirs = BatchNorm2d(24), nn.BatchNorm2d(24)
    x = draw(3, 24, 5, 7, dtype=torch.bfloat16 if autocast else torch.float32)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        for _ in range(2):
            y, wanted = ours(x), theirs(x)
    assert torch.equal(y, wanted)
    assert y.stride() == wanted.stride()
    assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))
    y.float().square().sum().backward()
    assert calls == ["batch_norm_gradients"]
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


@needs_kernels
@settings(deadline=None, max_examples=100)
@given(
    **SHAPE,
    offset=st.sampled_from([0.0, 30.0]),
    channels_last=st.booleans(),
)
def test_a_layer_norm_and_its_gradients_are_those_of_double_precision(
    width: int, images: int, sides: tuple[int, int], offset: float, channels_last: bool
) -> None:
    layer = LayerNorm2d(width, eps=1e-6)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = (draw(images, width, *sides).detach() + offset).to(torch.bfloat16).requires_grad_()
    assert channels.layer_normalizes(layer, x)
    by = draw(images, width, *sides, dtype=torch.bfloat16, channels_last=channels_last).detach()
    twice = (copy.deepcopy(layer).double(), x.detach().double().requires_grad_())
    right = [twice[0](twice[1]), *gradients(*twice, by)]
    with use_kernels("stock"):
        torchs = [layer(x), *gradients(layer, x, by)]
    for found, theirs, wanted in zip([layer(x), *gradients(layer, x, by)], torchs, right, strict=True):
        assert (found.dtype, found.shape) == (theirs.dtype, theirs.shape)
        assert distance(found, wanted) < max(TOLERANCE[torch.bfloat16], 2 * distance(theirs, wanted))


@needs_kernels
@settings(deadline=None, max_examples=100)
@given(
    **SHAPE,
    dtype=st.sampled_from(DTYPES),
    channels_last=st.booleans(),
)
def test_scaled_channels_are_torchs_to_the_bit(
    width: int, images: int, sides: tuple[int, int], dtype: torch.dtype, channels_last: bool
) -> None:
    layer = LayerScale(width, 0.5)
    nn.init.normal_(layer.gamma)
    x = draw(images, width, *sides, dtype=dtype)
    assert channels.scales(layer.gamma, x)
    by = draw(images, width, *sides, channels_last=channels_last).detach()
    found = [layer(x), *gradients(layer, x, by)]
    with use_kernels("stock"):
        wanted = [layer(x), *gradients(layer, x, by)]
    assert all(torch.equal(*pair) for pair in zip(found[:2], wanted[:2], strict=True))
    assert [(t.dtype, t.shape) for t in found] == [(t.dtype, t.shape) for t in wanted]
    assert distance(found[2], wanted[2]) < TOLERANCE[torch.float32]


@needs_kernels
@kernels_of_ours
def test_the_number_of_threads_changes_no_bit(make: Callable[[int], nn.Module], dtype: torch.dtype) -> None:
    check_threads(make(40), draw(9, 40, 20, 21, dtype=dtype))


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (BatchNorm2d(3), torch.randn(2, 3, 4, 5)),
        (BatchNorm2d(3).double(), draw(2, 3, 4, 5).detach().double()),
        (BatchNorm2d(3).to(torch.bfloat16), draw(2, 3, 4, 5).detach().to(torch.bfloat16)),
        (BatchNorm2d(3).eval(), draw(2, 3, 4, 5).detach()),
        (BatchNorm2d(3, affine=False), draw(2, 3, 4, 5).detach()),
        (BatchNorm2d(3, momentum=None), draw(2, 3, 4, 5).detach()),
        (BatchNorm2d(3, track_running_stats=False), draw(2, 3, 4, 5).detach()),
        (LayerNorm2d(3), draw(2, 3, 4, 5).detach()),
        (LayerNorm2d(3), torch.randn(2, 3, 4, 5).to(torch.bfloat16)),
        (LayerNorm2d(3, bias=False), draw(2, 3, 4, 5).detach().to(torch.bfloat16)),
        (LayerNorm2d(3).to(torch.bfloat16), draw(2, 3, 4, 5).detach().to(torch.bfloat16)),
        (LayerScale(3, 0.5), torch.randn(2, 3, 4, 5)),
        (LayerScale(3, 0.5).to(torch.bfloat16), draw(2, 3, 4, 5).detach().to(torch.bfloat16)),
        (LayerScale(1, 0.5), draw(2, 3, 4, 5).detach()),
    ],
)
def test_what_the_kernels_are_not_for_is_torchs_own(layer: nn.Module, x: Tensor, calls: list[str]) -> None:
    check_is_torchs_own(layer, x)
    assert not calls


def test_bad_input_gets_torchs_own_complaint() -> None:
    with pytest.raises(ValueError, match="expected 4D input"):
        BatchNorm2d(3)(torch.randn(2, 3))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BatchNorm2d(3)(torch.randn(1, 3, 1, 1))
    with pytest.raises(RuntimeError):
        BatchNorm2d(3)(draw(2, 4, 5, 5))


@needs_kernels
@kernels_of_ours
def test_a_second_derivative_is_refused(make: Callable[[int], nn.Module], dtype: torch.dtype) -> None:
    check_refusal(make(24), draw(2, 24, 9, 9, dtype=dtype))


@needs_kernels
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("flags", [Flags(), CONVNEXT])
def test_a_network_trains_by_them_counts_compiles_and_is_traced_without(flags: Flags, calls: list[str]) -> None:
    net = PathNet(flags, TINY, num_classes=10).to(memory_format=torch.channels_last)
    x = draw(2, 3, 64, 64).detach()
    net(x).sum().backward()
    assert calls
    calls.clear()
    with use_kernels("stock"):
        assert cost(net, 64) == cost(copy.deepcopy(net), 64)
    cost(net, 64)
    torch.jit.trace(net, x, check_trace=False)  # type: ignore[no-untyped-call]
    assert not calls
    torch.compile(net, backend="aot_eager")(x).sum().backward()
    assert set(calls) <= {"depthwise_gradients"}


BOUNDS = """
#include "channels.cpp"
#include <vector>

template <class Number>
void check(Int rows, Int channels, int threads) {
    const Matrix m = {rows, channels};
    const Int size = rows * channels;
    std::vector<Number> x(size), grad(size), by_x(size);
    std::vector<float> wide(size), mean(channels), inverse(channels), weight(channels), by_weight(channels);
    std::vector<float> by_bias(channels), scratch(channels_scratch(rows, channels));
    scale_channels(m, x.data(), weight.data(), wide.data(), threads);
    scale_channels_gradients(m, x.data(), wide.data(), weight.data(), by_x.data(), by_weight.data(), scratch.data(),
                             threads);
    batch_norm_gradients(m, x.data(), grad.data(), mean.data(), inverse.data(), weight.data(), by_x.data(),
                         by_weight.data(), by_bias.data(), scratch.data(), threads);
}

void check_layer_norm(Int rows, Int channels, int threads) {
    std::vector<Bfloat> x(rows * channels), y(rows * channels);
    std::vector<float> weight(channels), bias(channels), moments(2 * rows), scratch(channels_scratch(rows, channels));
    layer_norm_bfloat16(rows, channels, x.data(), weight.data(), bias.data(), 1e-6f, y.data(), moments.data(), threads);
    std::vector<Bfloat> by_x(rows * channels);
    std::vector<float> by_weight(channels), by_bias(channels);
    layer_norm_gradients_bfloat16(rows, channels, x.data(), y.data(), weight.data(), moments.data(), by_x.data(),
                                  by_weight.data(), by_bias.data(), scratch.data(), threads);
}

int main() {
    for (Int rows : {1, 2, 3, 63, 64, 65, 200, 5000})
        for (Int channels : {1, 3, 15, 16, 17, 33, 64}) {
            check<float>(rows, channels, 1);
            check<Bfloat>(rows, channels, 2);
            check_layer_norm(rows, channels, 2);
        }
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_no_byte_outside_is_touched(target: str, tmp_path: Path) -> None:
    run_sanitized(BOUNDS, target, tmp_path)
