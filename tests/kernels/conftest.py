import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convnext_path.kernels import build
from convnext_path.kernels.build import use_kernels

TARGETS = ["-march=native", "-mtune=generic"]
needs_kernels = pytest.mark.skipif(build.load().functions is None, reason=build.load().title)


def draw(*shape: int, dtype: torch.dtype = torch.float32, channels_last: bool = True) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.randn(shape, dtype=dtype).contiguous(memory_format=layout).requires_grad_()


def gradients(conv: nn.Conv2d, x: Tensor, by: Tensor | None = None) -> list[Tensor]:
    """By x and by the parameters, of the sum of the output times ``by``."""
    y = conv(x)
    return list(torch.autograd.grad(y, [x, *conv.parameters()], torch.ones_like(y) if by is None else by.to(y.dtype)))


def distance(found: Tensor, right: Tensor) -> float:
    """The largest error, in shares of what adds up to the largest element."""
    found, right = found.detach().double(), right.detach().double()
    return float((found - right).abs().max() / right.abs().max().clamp(min=1))


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
    files = [f"-I{build.FOLDER}", str(folder / "bounds.cpp"), "-o", str(folder / "bounds")]
    if subprocess.run([compiler, *flags, *files], capture_output=True, check=False).returncode:
        pytest.skip("no sanitizers")
    subprocess.run([folder / "bounds"], check=True, env={"ASAN_OPTIONS": "detect_leaks=0"})
