import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convnext_path import CONVNEXT, Flags, PathNet, cost
from convnext_path.kernels import build, pointwise
from convnext_path.kernels.build import use_kernels
from convnext_path.layers import GELU, BatchNorm2d
from tests.conftest import TINY
from tests.kernels.conftest import TARGETS, check_refusal, distance, draw, gradients, needs_kernels, run_sanitized

DTYPES = [torch.float32, torch.bfloat16]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the kernels that ran."""
    seen, call = [], build.call
    monkeypatch.setattr(pointwise, "call", lambda name, *rest: seen.append(name) or call(name, *rest))
    return seen


@needs_kernels
@settings(deadline=None, max_examples=100)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    dtype=st.sampled_from(DTYPES),
    spread=st.sampled_from([1e-3, 1.0, 30.0]),
)
def test_gelu_and_its_slope_are_those_of_double_precision(shape: list[int], dtype: torch.dtype, spread: float) -> None:
    x = (spread * torch.randn(shape)).to(dtype).requires_grad_()
    by = torch.randn(shape).to(dtype)
    right = x.detach().double().requires_grad_()
    for found, wanted in (
        (GELU()(x), nn.GELU()(right)),
        (gradients(GELU(), x, by)[0], gradients(nn.GELU(), right, by)[0]),
    ):
        assert found.dtype == dtype
        assert found.shape == wanted.shape
        assert distance(found, wanted) < TOLERANCE[dtype]


@needs_kernels
def test_gelu_is_exact_at_the_ends_and_nowhere_a_denormal() -> None:
    x = torch.tensor([-torch.inf, -1e30, -20.0, -12.0, -11.0, -0.0, 0.0, 12.0, 1e30, torch.inf, torch.nan])
    y = GELU()(x)
    assert y[[1, 2, 3, 5, 6]].eq(0).all()
    assert torch.equal(y[7:10], x[7:10])
    assert y[10].isnan()
    dense = GELU()(torch.linspace(-30, 0, 10_007))
    assert (dense.eq(0) | (dense.abs() > torch.finfo(torch.float32).tiny)).all()


@needs_kernels
def test_bfloat16_is_rounded_as_torch_rounds() -> None:
    x = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    x = x[~(x.abs() > 11)]  # beyond, zero is chosen; what is no number stays
    y = GELU()(x)
    assert torch.equal(y.isnan(), x.isnan())
    kept = y[~x.isnan()]
    wide = GELU()(x[~x.isnan()].float())
    assert torch.equal(kept, wide.to(torch.bfloat16))


@needs_kernels
@settings(deadline=None, max_examples=100)
@given(
    channels=st.integers(1, 80),
    images=st.integers(1, 9),
    sides=st.tuples(st.integers(1, 12), st.integers(2, 12)),
    dtype=st.sampled_from(DTYPES),
    offset=st.sampled_from([0.0, 30.0]),
    channels_last=st.booleans(),
)
def test_gradients_of_a_batch_norm_are_those_of_double_precision(
    channels: int, images: int, sides: tuple[int, int], dtype: torch.dtype, offset: float, channels_last: bool
) -> None:
    layer = BatchNorm2d(channels)
    nn.init.normal_(layer.weight)
    x = (draw(images, channels, *sides).detach() + offset).to(dtype).requires_grad_()
    assert pointwise.normalizes(layer, x)
    by = draw(images, channels, *sides, dtype=dtype, channels_last=channels_last).detach()
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
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", [GELU(), BatchNorm2d(40)])
def test_the_number_of_threads_changes_no_bit(layer: nn.Module, dtype: torch.dtype) -> None:
    x, found, before = draw(9, 40, 20, 21, dtype=dtype), [], torch.get_num_threads()
    y = layer(x)
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            found.append(torch.autograd.grad(y, [x, *layer.parameters()], x.detach(), retain_graph=True))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for tensors in found for a, b in zip(tensors, found[0], strict=True))


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (GELU(), torch.randn(2, 3, 4, 5).double()),
        (GELU(), torch.randn(2, 3, 4, 10)[..., ::2]),
        (GELU(), torch.randn(2, 3, device="meta")),
        (GELU(), torch.randn(2, 3).half()),
        (BatchNorm2d(3), torch.randn(2, 3, 4, 5)),
        (BatchNorm2d(3).double(), draw(2, 3, 4, 5).detach().double()),
        (BatchNorm2d(3).to(torch.bfloat16), draw(2, 3, 4, 5).detach().to(torch.bfloat16)),
        (BatchNorm2d(3).eval(), draw(2, 3, 4, 5).detach()),
        (BatchNorm2d(3, affine=False), draw(2, 3, 4, 5).detach()),
        (BatchNorm2d(3, momentum=None), draw(2, 3, 4, 5).detach()),
        (BatchNorm2d(3, track_running_stats=False), draw(2, 3, 4, 5).detach()),
    ],
)
def test_what_the_kernels_are_not_for_is_torchs_own(layer: nn.Module, x: Tensor, calls: list[str]) -> None:
    y = layer(x.requires_grad_())
    if y.device.type == "cpu":
        assert torch.equal(y, super(type(layer), layer).forward(x))
        y.sum().backward()
    assert not calls


def test_bad_input_gets_torchs_own_complaint() -> None:
    with pytest.raises(ValueError, match="expected 4D input"):
        BatchNorm2d(3)(torch.randn(2, 3))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BatchNorm2d(3)(torch.randn(1, 3, 1, 1))
    with pytest.raises(RuntimeError):
        BatchNorm2d(3)(draw(2, 4, 5, 5))


@needs_kernels
@pytest.mark.parametrize("make", [GELU, lambda: BatchNorm2d(24)])
def test_a_second_derivative_is_refused(make: Callable[[], nn.Module]) -> None:
    check_refusal(make(), draw(2, 24, 9, 9))


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
    torch.compile(net, backend="aot_eager")(x).sum().backward()
    assert not calls


BOUNDS = """
#include "pointwise.cpp"
#include <vector>

template <class Number>
void check(Int rows, Int channels, int threads) {
    const Int size = rows * channels;
    std::vector<Number> x(size), grad(size), by_x(size);
    std::vector<float> mean(channels), inverse(channels), weight(channels), by_weight(channels), by_bias(channels);
    std::vector<float> scratch(batch_norm_scratch(rows, channels));
    map_gelu(x.data(), by_x.data(), size, threads);
    map_gelu_gradient(x.data(), grad.data(), by_x.data(), size, threads);
    batch_norm_gradients({rows, channels}, x.data(), grad.data(), mean.data(), inverse.data(), weight.data(),
                         by_x.data(), by_weight.data(), by_bias.data(), scratch.data(), threads);
}

int main() {
    for (Int rows : {1, 2, 3, 63, 64, 65, 200, 5000})
        for (Int channels : {1, 3, 15, 16, 17, 33, 64}) {
            check<float>(rows, channels, 1);
            check<Bfloat>(rows, channels, 2);
        }
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_no_byte_outside_is_touched(target: str, tmp_path: Path) -> None:
    run_sanitized(BOUNDS, target, tmp_path)
