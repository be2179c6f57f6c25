from collections.abc import Iterator

import torch

from ablations.planning.measure import TIMED, WARM, measure_pace, measure_start, time_batches
from ablations.study.trial import Trial


def test_a_pace_is_that_of_the_trial(trial: Trial) -> None:
    pace = measure_pace(trial)
    assert min(measure_start(trial, pace), pace.train, pace.validate) > 0
    assert pace.memory > 1e6


def test_no_batch_is_begun_when_patience_is_over() -> None:
    begun: list[int] = []

    def batches() -> Iterator[None]:
        for number in range(9):
            begun.append(number)
            yield

    assert time_batches(batches(), torch.device("cpu"), patience=0) > 0
    assert begun == [0]
    time_batches(batches(), torch.device("cpu"))
    assert begun[1:] == list(range(WARM + TIMED))
