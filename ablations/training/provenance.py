"""What a trial's numbers hang on beside the trial itself: code, versions, device; and what they cost."""

import ctypes
import hashlib
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from convnext_path.kernels import build
from convnext_path.source import strip

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def reset_peak_memory(device: torch.device) -> None:
    """Start peak memory anew: on the GPU, or of this process where the system can (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif os.path.exists("/proc/self/clear_refs"):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that was allocated on the GPU, or resident in this process, libraries included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if os.path.exists("/proc/self/status"):
        return _read_bytes("/proc/self/status", "VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def used_memory(device: torch.device) -> int:
    """Bytes: what is allocated on the GPU, or resident in this process (Linux), after giving back what is free."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if not os.path.exists("/proc/self/status"):
        return peak_memory(device)
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    return _read_bytes("/proc/self/status", "VmRSS")


def keep_freed_memory() -> None:
    """Let this process keep what it frees for the next step (glibc).

    Handed back to the system and asked for again, each page is zeroed, which is a tenth of a training step.
    """
    if set_option := getattr(ctypes.CDLL(None), "mallopt", None):
        set_option(M_MMAP_MAX, 0)
        set_option(M_TRIM_THRESHOLD, -1)


@contextmanager
def limited_memory(device: torch.device) -> Iterator[None]:
    """Let an allocation fail beyond the memory that is free now, where Linux would kill the process later; CPU only."""
    if device.type != "cpu" or not os.path.exists("/proc/meminfo"):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    free = _read_bytes("/proc/meminfo", "MemAvailable")
    limit = _read_bytes("/proc/self/status", "VmData") + free
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _read_bytes(file: str, name: str) -> int:
    """An entry of a file that Linux gives in kB."""
    return 1024 * int(Path(file).read_text().split(f"{name}:")[1].split()[0])


#: Packages whose version may change a training's numbers.
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "numpy", "scikit-learn", "pillow")
#: Code that cannot: what it does is seen in a trial's definition, or in nothing.
HARMLESS = ("__init__", "steps", "ladder", "references", "convert", "files", "source", "words")


def origin(device: torch.device, data: str) -> dict[str, object]:
    """All that decides a trial's outcome beside its definition; ``data`` is the digest of its images and labels."""
    return {
        "code": code_digest(),
        "data": data,
        "kernels": build.describe(device),
        "device": device_name(device),
        "python": ".".join(platform.python_version_tuple()[:2]),  # augmentation draws by its random module
        **{name: version(name) for name in PACKAGES},
    }


def environment() -> dict[str, object]:
    """What else a record says of where it was made."""
    return {
        "python": platform.python_version(),
        "commit": git_commit(),
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
    }


def device_name(device: torch.device) -> str:
    """The GPU by name, or the CPU with the instructions that torch uses: others round otherwise."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else device.type


@cache
def code_digest(root: Path = Path(__file__).parents[2]) -> str:
    """A hash of the code that trains; comments, docstrings and layout have no part in it."""
    package = root / "convnext_path"
    files = sorted(file for file in package.rglob("*.py") if file.stem not in HARMLESS)
    code = [strip(file.read_text()) for file in (*files, root / "ablations" / "training" / "run.py")]
    code += [source.read_text() for source in sorted((package / "kernels").glob("*.[ch]*"))]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()[:16]


@cache
def git_commit() -> str:
    """The commit of the working tree, ``-dirty`` where it was changed since; empty outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


@cache
def processor_name() -> str:
    """The processor as the system names it."""
    if os.path.exists("/proc/cpuinfo"):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
