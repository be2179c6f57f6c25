"""Compiled where there is a GPU, and on a CPU by Triton's interpreter."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from convnext_path.kernels import depthwise
from convnext_path.networks.layers import DepthwiseConv2d
from tests.kernels.conftest import distance

triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")
SOURCE = Path(__file__).parents[2] / "convnext_path" / "kernels" / "depthwise_triton.py"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
INTERPRETER = pytest.param(
    "cpu",
    id="interpreter",
    marks=pytest.mark.skipif(triton.__version__.startswith("3.6."), reason="its interpreter fails with NumPy 2.4"),
)
GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))


class Backend(NamedTuple):
    """A copy of the module, and where its tensors are."""

    module: ModuleType
    device: str

    def draw(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        t = torch.randn(shape).to(self.device, dtype)
        return t.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else t


def load(device: str, **sizes: int) -> Backend:
    """With blocks of other sizes, if these are given."""
    spec = importlib.util.spec_from_file_location("depthwise_triton", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as switch:  # Triton reads it when it decorates; others may compile later
        if device == "cpu":
            switch.setenv("TRITON_INTERPRET", "1")
        spec.loader.exec_module(module)
        vars(module).update(sizes)
    return Backend(module, device)


@pytest.fixture(scope="module", params=[INTERPRETER, GPU])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "cpu":
            with pytest.MonkeyPatch.context() as switch:
                switch.setenv("TRITON_INTERPRET", "1")
                patch.setattr(tl, "sum", triton.jit(tl.sum.fn))  # decorated when Triton was imported
        yield request.param


@pytest.fixture(scope="module")
def backend(device: str) -> Backend:
    return load(device)


@pytest.fixture(scope="module")
def small(device: str) -> Backend:
    """With blocks so small that little images have many."""
    return load(device, OUTPUTS=8, PIXELS=4, BLOCK=8)


@pytest.fixture(scope="module")
def quick(device: str) -> Backend:
    """With blocks so large that the interpreter, whose time goes by the number of operations, has few."""
    return load(device, **{"OUTPUTS": 256, "PIXELS": 256, "BLOCK": 64} if device == "cpu" else {})


def right(x: Tensor, weight: Tensor, bias: Tensor, by: Tensor | None, stride: int, padding: int) -> list[Tensor]:
    """In double precision: the output and, of its sum in shares of ``by``, the gradients by x, weight and bias."""
    inputs = [t.double().requires_grad_() for t in (x, weight, bias)]
    y = F.conv2d(inputs[0], inputs[1], inputs[2], stride, padding, groups=len(weight))
    return [y.detach(), *(torch.autograd.grad(y, inputs, by.double()) if by is not None else ())]


def compute(backend: Backend, x: Tensor, weight: Tensor, bias: Tensor | None, by: Tensor, *how: int) -> list[Tensor]:
    """What :func:`right` gives, by the kernels."""
    module, kernel = backend.module, weight.shape[-1]
    y, by_x = module.convolve(x, weight, bias, *how), module.input_gradient(by, weight, x.shape[2:], *how)
    return [y, by_x, *module.weight_gradient(x, by, kernel, *how)]


def check(
    backend: Backend, shape: tuple[int, ...], kernel: int, stride: int, padding: int, dtype: torch.dtype = torch.float32
) -> None:
    torch.manual_seed(0)
    x, weight, bias = (
        backend.draw(*sides, dtype=dtype) for sides in (shape, (shape[1], 1, kernel, kernel), (shape[1],))
    )
    by = backend.draw(*right(x, weight, bias, None, stride, padding)[0].shape, dtype=dtype)
    found = compute(backend, x, weight, bias, by, stride, padding)
    assert [t.dtype for t in found] == [dtype, dtype, torch.float32, torch.float32]
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in found[:2])
    assert all(t.is_contiguous() for t in found[2:])
    for ours, wanted in zip(found, right(x, weight, bias, by, stride, padding), strict=True):
        assert ours.shape == wanted.shape
        assert distance(ours, wanted) < (1e-5 if dtype == torch.float32 else 1e-2)


@settings(deadline=None, max_examples=8)
@given(
    images=st.integers(1, 3),
    channels=st.integers(1, 70),
    sides=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    kernel=st.integers(3, 11),
    stride=st.sampled_from([1, 2]),
    padding=st.integers(0, 10),
    dtype=st.sampled_from(DTYPES),
)
def test_all_is_as_in_double_precision(
    quick: Backend,
    images: int,
    channels: int,
    sides: tuple[int, int],
    kernel: int,
    stride: int,
    padding: int,
    dtype: torch.dtype,
) -> None:
    padding = min(padding, kernel - 1)
    height, width = (max(side, kernel - 2 * padding) for side in sides)
    check(quick, (images, channels, height, width), kernel, stride, padding, dtype)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_and_chunks_add_up(backend: Backend, stride: int, dtype: torch.dtype) -> None:
    check(backend, (2, 40, 30, 20), 3, stride, 1, dtype)


def test_small_blocks_add_up(small: Backend) -> None:
    check(small, (2, 19, 5, 4), 3, 1, 1)


def test_a_bit_is_always_the_same(quick: Backend) -> None:
    x, weight, bias, by = (quick.draw(*shape) for shape in ((3, 20, 9, 7), (20, 1, 5, 5), (20,), (3, 20, 9, 7)))
    first, second = (compute(quick, x, weight, bias, by, 1, 2) for _ in range(2))
    assert all(map(torch.equal, first, second))


def test_there_may_be_no_bias_and_other_layouts(quick: Backend) -> None:
    x, weight, by = (quick.draw(*shape) for shape in ((2, 12, 6, 9), (12, 1, 3, 3), (2, 12, 6, 9)))
    layouts = [compute(quick, t, weight, None, g, 1, 1) for t, g in ((x, by), (x.contiguous(), by.contiguous()))]
    assert all(map(torch.equal, *layouts))
    assert distance(layouts[0][0], right(x, weight, weight.new_zeros(12), None, 1, 1)[0]) < 1e-5


def test_the_gradient_of_unseen_pixels_is_zero(quick: Backend) -> None:
    by, weight = quick.draw(1, 8, 1, 1), quick.draw(8, 1, 3, 3)
    by_x = quick.module.input_gradient(by, weight, (4, 4), 2, 0)  # the last row and column are left over
    assert torch.equal(by_x[..., :3, :3], by * weight.view(1, 8, 3, 3))
    assert not by_x[..., 3, :].any()
    assert not by_x[..., :, 3].any()


def test_too_many_pixels_are_refused(backend: Backend) -> None:
    with pytest.raises(ValueError, match="2,147,483,648 pixels are too many"):
        backend.module.count_pixels(torch.empty(2**11, 1, 2**10, 2**10, device="meta"))


def test_the_interpreter_leaves_triton_as_it_was(quick: Backend) -> None:
    load_before = tl.load
    quick.module.convolve(quick.draw(1, 2, 3, 3), quick.draw(2, 1, 3, 3), None, 1, 1)
    assert tl.load is load_before
    assert "TRITON_INTERPRET" not in os.environ
    assert isinstance(triton.jit(right), triton.JITFunction)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_layer_trains_by_them(quick: Backend, autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module, device = quick
    kernels = depthwise.Operations(module.convolve, module.input_gradient, module.weight_gradient)
    monkeypatch.setattr(depthwise, "operations", lambda device: kernels)
    conv, x = DepthwiseConv2d(12, 12, 7, padding=3, groups=12).to(device), quick.draw(2, 12, 6, 9).requires_grad_()
    by = quick.draw(2, 12, 6, 9)
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        assert depthwise.has_kernel(conv)
        y = depthwise.convolve(conv, x)
    parameters = (conv.weight, conv.bias)
    found = [y, *torch.autograd.grad(y, [x, *parameters], by.to(y.dtype))]
    assert [t.dtype for t in found] == [torch.bfloat16 if autocast else torch.float32, *[torch.float32] * 3]
    for ours, wanted in zip(found, right(x.detach(), *(p.detach() for p in parameters), by, 1, 3), strict=True):
        assert distance(ours, wanted) < (1e-2 if autocast else 1e-5)
