import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convnext_path import CONVNEXT, PathNet, cost
from convnext_path.kernels import depthwise
from convnext_path.kernels.build import use_kernels
from convnext_path.networks.layers import DepthwiseConv2d
from tests.conftest import TINY
from tests.kernels.conftest import TARGETS, check_refusal, distance, draw, gradients, needs_kernels, run_sanitized


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The outputs of fused convolutions."""
    seen, convolve = [], depthwise.convolve
    monkeypatch.setattr(depthwise, "convolve", lambda conv, x: seen.append(convolve(conv, x)) or seen[-1])
    return seen


def make(channels: int = 24, kernel: int = 7, stride: int = 1, **options: object) -> DepthwiseConv2d:
    torch.manual_seed(0)
    options = {"padding": kernel // 2, "groups": channels} | options
    return DepthwiseConv2d(channels, channels, kernel, stride, **options)  # type: ignore[arg-type]


@needs_kernels
@settings(deadline=None, max_examples=150)
@given(
    kernel=st.sampled_from(depthwise.KERNELS),
    stride=st.sampled_from([1, 2]),
    padding=st.integers(0, 10),
    sides=st.tuples(st.integers(1, 21), st.integers(1, 21)),
    channels=st.integers(1, 80),
    batch=st.sampled_from([1, 2, 3, 7, 65]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    bias=st.booleans(),
    layouts=st.tuples(st.booleans(), st.booleans()),
)
def test_gradients_are_those_of_double_precision(
    kernel: int,
    stride: int,
    padding: int,
    sides: tuple[int, int],
    channels: int,
    batch: int,
    dtype: torch.dtype,
    bias: bool,
    layouts: tuple[bool, bool],
) -> None:
    padding = min(padding, kernel - 1)
    height, width = (max(side, kernel - 2 * padding) for side in sides)
    conv = make(channels, kernel, stride, padding=padding, bias=bias).to(dtype)
    x = draw(batch, channels, height, width, dtype=dtype, channels_last=layouts[0])
    assert depthwise.fuses(conv, x)
    by = draw(*conv(x).shape, dtype=dtype, channels_last=layouts[1]).detach()
    right = gradients(nn.Conv2d.double(copy.deepcopy(conv)), x.detach().double().requires_grad_(), by)
    for found, wanted in zip(gradients(conv, x, by), right, strict=True):
        assert found.dtype == dtype
        assert found.shape == wanted.shape
        assert distance(found, wanted) < (1e-5 if dtype == torch.float32 else 1e-2)


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_of_threads_changes_no_bit(dtype: torch.dtype) -> None:
    conv, x, found, before = make(40).to(dtype), draw(9, 40, 9, 13, dtype=dtype), [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            found.append(depthwise.compute_gradients(x.detach(), conv(x).detach(), 7, 1, 3))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for pair in found for a, b in zip(pair, found[0], strict=True))


@needs_kernels
@pytest.mark.parametrize("autocast", [False, True])
def test_outputs_and_types_are_torchs_own(autocast: bool, calls: list[Tensor]) -> None:
    conv, x = make(), draw(3, 24, 8, 8)
    stock = nn.Conv2d(24, 24, 7, padding=3, groups=24)
    stock.load_state_dict(conv.state_dict())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours, theirs = conv(x), stock(x)
    assert len(calls) == 1
    assert ours.dtype == theirs.dtype == (torch.bfloat16 if autocast else torch.float32)
    assert torch.equal(ours, theirs)
    assert ours.stride() == theirs.stride()
    for net, y in ((conv, ours), (stock, theirs)):
        y.float().square().sum().backward()
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in net.parameters())
    for a, b in zip(conv.parameters(), stock.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert distance(a.grad, b.grad) < (1e-2 if autocast else 1e-5)


@needs_kernels
def test_who_needs_no_gradient_gets_none() -> None:
    conv, x, y = make(), draw(2, 24, 5, 5).detach(), []
    for part, frozen in ((x, conv.bias), (conv.weight, x), (conv.bias, None)):
        for tensor in (x, conv.weight, conv.bias):
            assert tensor is not None
            tensor.grad = None
            tensor.requires_grad_(tensor is not part and tensor is not frozen)
        y.append(conv(x))
        if y[-1].requires_grad:
            y[-1].sum().backward()
        assert part is not None
        assert part.grad is None
    assert all(torch.equal(other, y[0]) for other in y)


@pytest.mark.parametrize(
    "change",
    [
        lambda conv, x: (conv.double(), x.double()),
        lambda conv, x: (conv.requires_grad_(False), x),
        lambda conv, x: (conv.to("meta"), x.to("meta")),
        lambda conv, x: (conv, x[0]),
        lambda conv, x: (conv, x[:0]),
        lambda conv, x: (make(kernel=3), x),
        lambda conv, x: (make(kernel=6), x),
        lambda conv, x: (make(stride=3), x),
        lambda conv, x: (make(padding=7), x),
        lambda conv, x: (make(padding="same"), x),
        lambda conv, x: (make(padding=(3, 2)), x),
        lambda conv, x: (make(dilation=2), x),
        lambda conv, x: (make(groups=12), x),
        lambda conv, x: (make(padding_mode="reflect"), x),
        lambda conv, x: (DepthwiseConv2d(24, 48, 7, padding=3, groups=24), x),
    ],
)
def test_what_the_kernel_is_not_for_is_torchs_own(
    change: Callable[[DepthwiseConv2d, Tensor], tuple[DepthwiseConv2d, Tensor]], calls: list[Tensor]
) -> None:
    conv, x = change(make(), draw(2, 24, 9, 9))
    y = conv(x)
    assert not calls
    if y.device.type == "cpu" and y.requires_grad and y.numel():
        assert torch.equal(y, nn.Conv2d.forward(conv, x))
        y.sum().backward()


@needs_kernels
def test_evaluation_and_half_precision_are_torchs_own(calls: list[Tensor]) -> None:
    conv, x = make(), draw(2, 24, 9, 9)
    with torch.no_grad():
        conv(x)
    with torch.inference_mode():
        conv(x.detach())
    with use_kernels("stock"):
        conv(x)
    with torch.autocast("cpu", torch.float16):
        conv(x)
    assert not calls
    conv(x)
    assert len(calls) == 1


@needs_kernels
def test_a_second_derivative_is_refused() -> None:
    check_refusal(make(), draw(2, 24, 9, 9))


def test_it_counts_loads_copies_and_pickles_as_a_convolution() -> None:
    conv, stock = make(), nn.Conv2d(24, 24, 7, padding=3, groups=24)
    assert conv.state_dict().keys() == stock.state_dict().keys()
    assert cost(nn.Sequential(conv), 8, 24) == cost(nn.Sequential(stock), 8, 24)
    x = draw(2, 24, 9, 9)
    for twin in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
        assert all(map(torch.equal, gradients(conv, x), gradients(twin, x)))
    traced = torch.jit.trace(conv, x)  # type: ignore[no-untyped-call]
    assert torch.equal(traced(x), conv(x))
    assert "aten::_convolution" in str(traced.graph)


@needs_kernels
def test_the_network_trains_fused(calls: list[Tensor]) -> None:
    net = PathNet(CONVNEXT, TINY, num_classes=10).to(memory_format=torch.channels_last)
    net(draw(2, 3, 64, 64).detach()).sum().backward()
    assert len(calls) == sum(TINY.ratio_depths)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@needs_kernels
@pytest.mark.parametrize("stride", [1, 2])
def test_compiled_it_gives_the_same(stride: int) -> None:
    conv, x = make(stride=stride), draw(2, 24, 9, 9)
    compiled = torch.compile(conv, backend="aot_eager", fullgraph=True)
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found, right = gradients(compiled, x), gradients(conv, x)
        assert all(map(torch.equal, found, right))
    torch.library.opcheck(depthwise.compiled_gradients, (x.detach(), conv(x).detach(), 7, stride, 3))


BOUNDS = """
#include "depthwise.cpp"
#include <vector>

template <class Number>
void check(Shape s, int threads) {
    std::vector<Number> input(s.images * s.channels * s.height * s.width);
    std::vector<Number> grad(s.images * s.channels * s.out_height * s.out_width);
    std::vector<float> weight(s.channels * s.kernel * s.kernel), bias(s.channels);
    std::vector<float> scratch(depthwise_scratch(&s, threads));
    compute(s, input.data(), grad.data(), weight.data(), bias.data(), scratch.data(), threads);
}

int main() {
    for (Int kernel : {5, 7, 9, 11})
        for (Int stride : {1, 2})
            for (Int padding : {Int(0), kernel / 2, kernel - 1})
                for (Int side : {1, 2, 5, 8, 13, 40})
                    for (Int channels : {1, 16, 31, 33, 64}) {
                        const Int height = side, width = side + 3, room = 2 * padding - kernel;
                        if (height + room < 0) continue;
                        const Shape s = {3, channels, height, width, (height + room) / stride + 1,
                                         (width + room) / stride + 1, kernel, stride, padding};
                        check<float>(s, 1);
                        check<Bfloat>(s, 2);
                    }
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_no_byte_outside_is_touched(target: str, tmp_path: Path) -> None:
    run_sanitized(BOUNDS, target, tmp_path)
