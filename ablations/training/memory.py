"""Memory of a process or a GPU: how much is taken, at the peak and now, and how much may be."""

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def reset_peak_memory(device: torch.device) -> None:
    """Start peak memory anew: on the GPU, or of this process where the system can (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif os.path.exists("/proc/self/clear_refs"):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


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
    return 1024 * int(Path(file).read_text(encoding="utf-8").split(f"{name}:")[1].split()[0])
