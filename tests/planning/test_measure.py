from ablations.planning.measure import measure_pace, measure_start
from ablations.study.trial import Trial


def test_a_pace_is_that_of_the_trial(trial: Trial) -> None:
    pace = measure_pace(trial)
    assert min(measure_start(trial, pace), pace.train, pace.validate) > 0
    assert pace.memory > 1e6
