import mmap
import sys

import torch

from ablations.machine import environment, git_commit, peak_memory, processor_name, reset_peak_memory

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


def test_environment_tells_what_decides_a_training() -> None:
    told = environment(torch.device("cpu"))
    assert {"python", "torch", "torchvision", "pytorch-lightning", "commit", "device", "threads"} <= set(told)
    assert (told["device"], told["threads"]) == ("cpu", torch.get_num_threads())
    assert processor_name()
    assert git_commit() == told["commit"]
