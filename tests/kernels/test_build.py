import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from convnext_path.kernels import build
from convnext_path.networks.layers import GELU
from tests.kernels.conftest import needs_kernels

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a process that has not looked for the kernels yet; gives where the kernels will be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.load.cache_clear()
    yield tmp_path / "convnext-path"
    build.load.cache_clear()


def test_without_a_compiler_it_is_torchs_own_and_says_so_once(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            GELU()(torch.zeros(1))
    assert [record.getMessage() for record in caplog.records] == [
        "networks train at torch's own speed: no C++ compiler"
    ]
    assert build.describe(CPU) == "stock (no C++ compiler)"
    assert not fresh.exists()


@pytest.mark.parametrize("cxx", ["false", "no-such-compiler", "c++ -no-such-flag", "true", "'"])
def test_a_compiler_that_fails_is_no_compiler(cxx: str, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", cxx)
    assert build.describe(CPU) == "stock (kernels not built)"
    assert not list(fresh.glob("*"))


def test_a_cache_that_cannot_be_written_means_torchs_own(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert build.describe(CPU) == "stock (kernels not built)"


@needs_kernels
@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:1000], lambda b: b[:999] + b"x" + b[1000:], None])
def test_a_damaged_kernel_is_made_again(
    damage: Callable[[bytes], bytes] | None, kernels: list[Path], fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []
    whole = kernels[0].read_bytes()
    monkeypatch.setattr(build, "compile_library", lambda compiler: built.append(compiler) or whole)
    title = build.describe(CPU)
    assert title.startswith("ours (")
    (file,) = fresh.iterdir()
    file.unlink()  # this process runs it: it must not be written to
    if damage is not None:
        file.write_bytes(damage(whole))
    build.load.cache_clear()
    assert build.describe(CPU) == title
    assert len(built) == 2
    assert build.is_whole(file)
    build.load.cache_clear()
    assert build.describe(CPU) == title
    assert len(built) == 2


@needs_kernels
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_starts_no_thread_and_brings_no_second_openmp() -> None:
    code = """
import os, torch
from convnext_path.kernels import build
from convnext_path.networks.layers import DepthwiseConv2d
before = os.listdir("/proc/self/task")  # NumPy's linear algebra has threads of its own
assert build.load().functions is not None
assert os.listdir("/proc/self/task") == before
torch.set_num_threads(1)
conv = DepthwiseConv2d(64, 64, 7, padding=3, groups=64)
conv(torch.randn(8, 64, 8, 8)).sum().backward()
assert os.listdir("/proc/self/task") == before
with open("/proc/self/maps") as maps:
    print(len({line.split()[-1] for line in maps if "libgomp" in line or "libomp" in line or "libiomp" in line}))
"""
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "1"


def test_the_switch_is_read_from_the_environment() -> None:
    code = "import torch; from convnext_path.kernels import build; print(build.describe(torch.device('cpu')))"
    environment = os.environ | {"CONVNEXT_PATH_KERNELS": "stock"}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "stock (asked for)"
