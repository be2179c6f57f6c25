import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convnext_path.kernels import build, channels, depthwise, gelu
from convnext_path.kernels.build import use_kernels
from convnext_path.kernels.compiler import FOLDER

DTYPES = [torch.float32, torch.bfloat16]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
TARGETS = ["-march=native", "-mtune=generic"]
needs_kernels = pytest.mark.skipif(build.load().functions is None, reason=build.load().title)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a process that has not looked for the kernels yet; gives where the kernels will be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.load.cache_clear()
    yield tmp_path / "cache" / "convnext-path"
    build.load.cache_clear()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the kernels that ran."""
    seen, call = [], build.call
    for module in (channels, depthwise, gelu):
        monkeypatch.setattr(module, "call", lambda name, *rest: seen.append(name) or call(name, *rest))
    return seen


def draw(*shape: int, dtype: torch.dtype = torch.float32, channels_last: bool = True) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.randn(shape, dtype=dtype).contiguous(memory_format=layout).requires_grad_()


def gradients(layer: nn.Module, x: Tensor, by: Tensor | None = None) -> list[Tensor]:
    """By x and by the parameters, of the sum of the output times ``by``."""
    y = layer(x)
    return list(torch.autograd.grad(y, [x, *layer.parameters()], torch.ones_like(y) if by is None else by.to(y.dtype)))


def distance(found: Tensor, right: Tensor) -> float:
    """The largest error, in shares of what adds up to the largest element."""
    found, right = found.detach().double(), right.detach().double()
    return float((found - right).abs().max() / right.abs().max().clamp(min=1))


def check_threads(layer: nn.Module, x: Tensor) -> None:
    """Gradients do not depend on the number of threads."""
    y, found, before = layer(x), [], torch.get_num_threads()
    by = torch.randn_like(y)
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            found.append(torch.autograd.grad(y, [x, *layer.parameters()], by, retain_graph=True))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for tensors in found for a, b in zip(tensors, found[0], strict=True))


def check_is_torchs_own(layer: nn.Module, x: Tensor) -> None:
    """Output and gradient are to the bit those without our kernels."""
    if x.device.type != "cpu":
        layer(x.requires_grad_())
        return
    found = [layer(x), *gradients(layer, x.detach().requires_grad_())]
    with use_kernels("stock"):
        wanted = [layer(x), *gradients(layer, x.detach().requires_grad_())]
    assert all(map(torch.equal, found, wanted))


def check_refusal(layer: nn.Module, x: Tensor) -> None:
    """A second derivative is refused, and given by torch's own operations."""
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with use_kernels("stock"):
        (by_x,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    by_x.square().sum().backward()


def run_sanitized(program: str, target: str, folder: Path) -> None:
    """Run C++ with buffers of exactly the sizes that they should have, under two sanitizers."""
    if not (compiler := shutil.which("c++")):
        pytest.skip("no C++ compiler")
    (folder / "bounds.cpp").write_text(program)
    flags = ["-O1", "-g", "-std=c++17", "-fopenmp", target, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    files = [f"-I{FOLDER}", str(folder / "bounds.cpp"), "-o", str(folder / "bounds")]
    if subprocess.run([compiler, *flags, *files], capture_output=True, check=False).returncode:
        pytest.skip("no sanitizers")
    subprocess.run([folder / "bounds"], check=True, env={"ASAN_OPTIONS": "detect_leaks=0"})
