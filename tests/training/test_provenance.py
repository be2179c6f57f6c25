import mmap
import platform
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
import torch

from ablations.training.memory import limited_memory, peak_memory, reset_peak_memory, used_memory
from ablations.training.provenance import code_digest, environment, git_commit, origin, processor_name
from convnext_path.kernels import build

CPU = torch.device("cpu")


def test_peak_memory_is_of_this_trial() -> None:
    reset_peak_memory(CPU)
    before = peak_memory(CPU)
    with mmap.mmap(-1, 100_000_000) as block:  # fresh pages, whatever the allocator has in store
        block.write(b"x" * len(block))
    assert peak_memory(CPU) - before > 50_000_000
    if sys.platform == "linux":
        reset_peak_memory(CPU)
        assert peak_memory(CPU) - before < 50_000_000


def test_the_origin_tells_what_makes_another_experiment_and_what_rounds_otherwise() -> None:
    told = origin(CPU, "digest", threads=3)
    experiment, rounding = dict(told.experiment), dict(told.rounding)
    assert {"code", "data", "torch", "torchvision", "pytorch-lightning", "numpy", "python"} <= set(experiment)
    assert experiment["data"] == "digest"
    assert set(rounding) == {"device", "processor", "instructions", "kernels", "math", "threads"}
    assert (rounding["kernels"], rounding["threads"]) == (build.describe(CPU), 3)
    assert str(rounding["instructions"]).startswith(torch.backends.cpu.get_cpu_capability())


@pytest.mark.parametrize(
    ("variable", "is_told"),
    [
        ("ONEDNN_DEFAULT_FPMATH_MODE", True),
        ("DNNL_MAX_CPU_ISA", True),
        ("MKL_CBWR", True),
        ("OMP_SCHEDULE", True),
        ("KMP_DETERMINISTIC_REDUCTION", True),
        ("ATEN_CPU_CAPABILITY", True),
        ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", True),
        ("NVIDIA_TF32_OVERRIDE", True),
        ("CUBLAS_WORKSPACE_CONFIG", True),
        ("OMP_NUM_THREADS", False),
        ("MKL_VERBOSE", False),
        ("KMP_INIT_AT_FORK", False),
        ("TORCH_HOME", False),
        ("TORCHELASTIC_RUN_ID", False),
    ],
)
def test_settings_of_the_math_libraries_are_part_of_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, is_told: bool
) -> None:
    before = origin(CPU, "digest")
    monkeypatch.setenv(variable, "x")
    after = origin(CPU, "digest")
    assert after.experiment == before.experiment
    assert (f"{variable}=x" in str(dict(after.rounding)["math"]).split()) == is_told
    assert (after == before) == (not is_told)


def test_the_environment_tells_where() -> None:
    told = environment()
    assert processor_name()
    assert git_commit() == told["commit"]


TRAINS = [
    "convnext_path/kernels/depthwise.cpp",
    "convnext_path/kernels/vectors.h",
    "convnext_path/kernels/build.py",
    "convnext_path/networks/path.py",
    "convnext_path/data/module.py",
    "convnext_path/frozen.py",
    "ablations/training/run.py",
    "ablations/training/trainer.py",
    "ablations/training/curve.py",
]
HARMLESS = [
    "convnext_path/files.py",
    "convnext_path/programs.py",
    "convnext_path/trust.py",
    "ablations/report/charts.py",
    "ablations/engines/scheduler.py",
    "convnext_path/ladder.py",
    "convnext_path/steps.py",
    "README.md",
]


@pytest.mark.parametrize("name", TRAINS + HARMLESS)
def test_the_code_digest_follows_the_code_that_trains(tmp_path: Path, name: str) -> None:
    root = Path(__file__).parents[2]
    for package in ("ablations", "convnext_path"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "README.md").touch()

    before = code_digest(tmp_path)
    with (tmp_path / name).open("a") as file:
        file.write("\nx = 1\n")
    code_digest.cache_clear()
    assert (code_digest(tmp_path) != before) == (name in TRAINS)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux alone lends memory that it may not have")
def test_more_memory_than_is_free_is_refused_at_once() -> None:
    with limited_memory(CPU):
        free = 1024 * int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0])
        with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
            torch.empty(2 * free, dtype=torch.uint8)
        torch.empty(free // 4, dtype=torch.uint8)
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_memory_in_use_goes_up_and_down() -> None:
    before = used_memory(CPU)
    there = torch.ones(25_000_000)
    assert used_memory(CPU) - before > 95e6
    del there
    assert used_memory(CPU) - before < 20e6


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is asked")
def test_what_is_freed_is_kept_for_the_next_step() -> None:
    code = """
import resource, torch
from ablations.training.memory import keep_freed_memory
keep_freed_memory()
for _ in range(40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**26).sum()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    command = [sys.executable, "-c", code]
    first, *rest = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert median(rest) < 100 < first  # at first a small block may settle in the large one's place
