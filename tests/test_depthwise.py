import copy
import logging
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convnext_path import CONVNEXT, PathNet, cost, depthwise
from convnext_path.layers import DepthwiseConv2d
from tests.conftest import TINY

HERE = Path(__file__).parent
needs_kernel = pytest.mark.skipif(depthwise.load().functions is None, reason=depthwise.describe())


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a process that has not looked for the kernel yet; gives where the kernel will be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    depthwise.load.cache_clear()
    yield tmp_path / "convnext-path"
    depthwise.load.cache_clear()


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


def draw(*shape: int, dtype: torch.dtype = torch.float32, channels_last: bool = True) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.randn(shape, dtype=dtype).contiguous(memory_format=layout).requires_grad_()


def gradients(conv: nn.Conv2d, x: Tensor, by: Tensor | None = None) -> list[Tensor]:
    """By x and by the parameters, of the sum of the output times ``by``."""
    y = conv(x)
    return list(torch.autograd.grad(y, [x, *conv.parameters()], torch.ones_like(y) if by is None else by.to(y.dtype)))


def distance(found: Tensor, right: Tensor) -> float:
    """The largest error, in shares of what adds up to the largest element."""
    return float((found.double() - right.double()).abs().max() / right.double().abs().max().clamp(min=1))


@needs_kernel
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


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_of_threads_changes_no_bit(dtype: torch.dtype) -> None:
    conv, x, found, before = make(40).to(dtype), draw(9, 40, 9, 13, dtype=dtype), [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            found.append(depthwise.depthwise_gradients(x.detach(), conv(x).detach(), 7, 1, 3))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for pair in found for a, b in zip(pair, found[0], strict=True))


@needs_kernel
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


@needs_kernel
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


@needs_kernel
def test_evaluation_and_half_precision_are_torchs_own(calls: list[Tensor]) -> None:
    conv, x = make(), draw(2, 24, 9, 9)
    with torch.no_grad():
        conv(x)
    with torch.inference_mode():
        conv(x.detach())
    with depthwise.stock_convolutions():
        assert depthwise.describe() == "stock (asked for)"
        conv(x)
    with torch.autocast("cpu", torch.float16):
        conv(x)
    assert not calls
    conv(x)
    assert len(calls) == 1


@needs_kernel
def test_a_second_derivative_is_refused() -> None:
    conv, x = make(), draw(2, 24, 9, 9)
    with pytest.raises(RuntimeError, match=r"no second derivative: use stock_convolutions\(\)"):
        torch.autograd.grad(conv(x).square().sum(), x, create_graph=True)
    with depthwise.stock_convolutions():
        (by_x,) = torch.autograd.grad(conv(x).square().sum(), x, create_graph=True)
    by_x.square().sum().backward()


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


@needs_kernel
def test_the_network_trains_fused(calls: list[Tensor]) -> None:
    net = PathNet(CONVNEXT, TINY, num_classes=10).to(memory_format=torch.channels_last)
    net(draw(2, 3, 64, 64).detach()).sum().backward()
    assert len(calls) == sum(TINY.ratio_depths)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@needs_kernel
@pytest.mark.parametrize("stride", [1, 2])
def test_compiled_it_gives_the_same(stride: int) -> None:
    conv, x = make(stride=stride), draw(2, 24, 9, 9)
    compiled = torch.compile(conv, backend="aot_eager", fullgraph=True)
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found, right = gradients(compiled, x), gradients(conv, x)
        assert all(map(torch.equal, found, right))
    torch.library.opcheck(depthwise.depthwise_gradients, (x.detach(), conv(x).detach(), 7, stride, 3))


def test_without_a_compiler_it_is_torchs_own_and_says_so_once(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            gradients(make(), draw(2, 24, 9, 9))
    assert [record.getMessage() for record in caplog.records] == [
        "depthwise convolutions train at torch's own speed: no C++ compiler"
    ]
    assert depthwise.describe() == "stock (no C++ compiler)"
    assert not fresh.exists()


@pytest.mark.parametrize("cxx", ["false", "no-such-compiler", "c++ -no-such-flag", "true", "'"])
def test_a_compiler_that_fails_is_no_compiler(cxx: str, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", cxx)
    assert depthwise.describe() == "stock (kernel not built)"
    assert not list(fresh.glob("*"))


def test_a_cache_that_cannot_be_written_means_torchs_own(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert depthwise.describe() == "stock (kernel not built)"


@needs_kernel
@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:1000], lambda b: b[:999] + b"x" + b[1000:], None])
def test_a_damaged_kernel_is_made_again(
    damage: Callable[[bytes], bytes] | None, kernels: list[Path], fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []
    whole = kernels[0].read_bytes()
    monkeypatch.setattr(depthwise, "compile_library", lambda compiler: built.append(compiler) or whole)
    title = depthwise.describe()
    assert title.startswith("fused (")
    (file,) = fresh.iterdir()
    file.unlink()  # this process runs it: it must not be written to
    if damage is not None:
        file.write_bytes(damage(whole))
    depthwise.load.cache_clear()
    assert depthwise.describe() == title
    assert len(built) == 2
    assert depthwise.is_whole(file)
    depthwise.load.cache_clear()
    assert depthwise.describe() == title
    assert len(built) == 2


@needs_kernel
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_starts_no_thread_and_brings_no_second_openmp() -> None:
    code = """
import os, torch
from convnext_path import depthwise
from convnext_path.layers import DepthwiseConv2d
before = os.listdir("/proc/self/task")  # NumPy's linear algebra has threads of its own
assert depthwise.describe().startswith("fused"), depthwise.describe()
assert os.listdir("/proc/self/task") == before
torch.set_num_threads(1)
conv = DepthwiseConv2d(64, 64, 7, padding=3, groups=64)
conv(torch.randn(8, 64, 8, 8)).sum().backward()
assert os.listdir("/proc/self/task") == before
with open("/proc/self/maps") as maps:
    print(len({line.split()[-1] for line in maps if "libgomp" in line or "libomp" in line or "libiomp" in line}))
"""
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "1"


def test_the_switch_is_read_from_the_environment() -> None:
    code = "from convnext_path import depthwise; print(depthwise.describe())"
    environment = os.environ | {"CONVNEXT_PATH_DEPTHWISE": "stock"}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=HERE.parent, env=environment, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "stock (asked for)"


BOUNDS = """
#include "depthwise.cpp"
#include <vector>

template <class Number>
void check(Shape s, int threads) {
    std::vector<Number> input(s.images * s.channels * s.height * s.width);
    std::vector<Number> grad(s.images * s.channels * s.out_height * s.out_width);
    std::vector<float> weight(s.channels * s.kernel * s.kernel), bias(s.channels);
    std::vector<float> scratch(scratch_size(&s, threads));
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
@pytest.mark.parametrize("target", ["-march=native", "-mtune=generic"])
def test_no_byte_outside_is_touched(target: str, tmp_path: Path) -> None:
    """Buffers of exactly the sizes that they should have, under the address and undefined behaviour sanitizers."""
    if not (compiler := shutil.which("c++")):
        pytest.skip("no C++ compiler")
    (tmp_path / "bounds.cpp").write_text(BOUNDS)
    flags = ["-O1", "-g", "-std=c++17", "-fopenmp", target, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    include = f"-I{depthwise.SOURCE.parent}"
    build = [compiler, *flags, include, str(tmp_path / "bounds.cpp"), "-o", str(tmp_path / "bounds")]
    if subprocess.run(build, capture_output=True, check=False).returncode:
        pytest.skip("no sanitizers")
    subprocess.run([tmp_path / "bounds"], check=True, env={"ASAN_OPTIONS": "detect_leaks=0"})
