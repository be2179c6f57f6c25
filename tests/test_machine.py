import torch

from ablations.machine import environment, git_commit, peak_memory, processor_name, reset_peak_memory


def test_peak_memory_is_of_this_trial() -> None:
    reset_peak_memory()
    before = peak_memory()
    block = torch.ones(100_000_000, dtype=torch.uint8)
    assert peak_memory() - before > 50_000_000
    del block
    reset_peak_memory()
    assert peak_memory() - before < 50_000_000


def test_environment_tells_what_decides_a_training() -> None:
    told = environment(torch.device("cpu"))
    assert {"python", "torch", "torchvision", "pytorch-lightning", "commit", "device", "threads"} <= set(told)
    assert (told["device"], told["threads"]) == ("cpu", torch.get_num_threads())
    assert processor_name()
    assert git_commit() == told["commit"]
