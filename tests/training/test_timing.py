from collections.abc import Callable

import pytest
import torch

from ablations.training import timing
from ablations.training.timing import find_quartiles, interleave, make_block, measure_memory
from tests.bench.conftest import CPU


def test_contestants_take_turns() -> None:
    calls: list[str] = []

    def contestant(name: str) -> Callable[[], int]:
        def block() -> int:
            calls.append(name)
            return len(calls)

        return block

    assert interleave([contestant(name) for name in "abc"], 3) == [[1, 4, 7], [2, 5, 8], [3, 6, 9]]
    assert "".join(calls) == "abcabcabc"


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, 1), (1e9, 10)])
def test_a_block_has_a_step_at_least(seconds: float, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ablations.training.timing.time_steps", lambda step, number, device: 1e8 if number == 1 else number
    )
    assert make_block(lambda: None, seconds, CPU)() == (1e8 if steps == 1 else steps)


@pytest.mark.parametrize("best", [1, 12])
def test_the_rate_of_matrix_products_is_the_best_of_two_ways_ten_times(
    best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([2**-6 if number == best else 2**-5 for number in range(20)])
    monkeypatch.setattr(timing, "time_steps", lambda step, number, device: step() is None or next(seconds))
    monkeypatch.setitem(timing.SIDES, "cpu", 64)
    assert timing.measure_matrix_rate(CPU, torch.bfloat16) == 2 * 64**3 * 2**6


def test_steps_that_take_long_are_timed_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([3.0, 2.0, 1.0])
    monkeypatch.setattr(timing, "time_steps", lambda step, number, device: next(seconds))
    assert timing.time_best(lambda: None, CPU) == 3.0
    assert timing.time_best(lambda: None, CPU) == 2.0


def test_quartiles() -> None:
    assert find_quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == (2.0, 3.0, 4.0)


def test_memory_is_that_of_the_step_alone() -> None:
    there = torch.ones(50_000_000)
    added = measure_memory(lambda: torch.ones(25_000_000), CPU)
    assert 95e6 < added < 120e6  # pages of the allocator that were resident before are not counted
    del there
