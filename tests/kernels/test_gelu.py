from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convnext_path.networks.layers import GELU
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
    wanted = GELU()(x[~x.isnan()].float()).to(torch.bfloat16)
    denormal = wanted.abs() <= torch.finfo(torch.bfloat16).tiny  # before rounding; some processors make it 0
    assert torch.equal(kept[~denormal], wanted[~denormal])
    assert (kept[denormal].eq(0) | kept[denormal].eq(wanted[denormal])).all()


@needs_kernels
def test_nothing_is_kept_for_a_gradient_that_nobody_takes() -> None:
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        GELU()(draw(2, 3, 4, 5).detach())
        assert not kept
        GELU()(draw(2, 3, 4, 5))
    assert len(kept) == 1


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_changes_no_bit(dtype: torch.dtype) -> None:
    check_threads(GELU(), draw(9, 40, 20, 21, dtype=dtype))


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(2, 3, 4, 5).double(),
        torch.randn(2, 3, 4, 10)[..., ::2],
        torch.randn(2, 3, device="meta"),
        torch.randn(2, 3).half(),
    ],
)
def test_what_the_kernel_is_not_for_is_torchs_own(x: Tensor, calls: list[str]) -> None:
    check_is_torchs_own(GELU(), x)
    assert not calls


@needs_kernels
def test_a_second_derivative_is_refused() -> None:
    check_refusal(GELU(), draw(2, 24, 9, 9))


BOUNDS = """
#include "gelu.cpp"
#include <vector>

template <class Number>
void check(Int size, int threads) {
    std::vector<Number> x(size), y(size), slope(size);
    map_gelu<Number>(x.data(), y.data(), nullptr, size, threads);
    map_gelu(x.data(), y.data(), slope.data(), size, threads);
}

int main() {
    for (Int size : {1, 2, 15, 16, 17, 1023, 1024, 1025, 5000}) {
        check<float>(size, 1);
        check<Bfloat>(size, 2);
    }
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_no_byte_outside_is_touched(target: str, tmp_path: Path) -> None:
    run_sanitized(BOUNDS, target, tmp_path)
