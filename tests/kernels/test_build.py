import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convnext_path.kernels import build
from convnext_path.networks.layers import GELU
from tests.kernels.conftest import needs_kernels

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


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
