import pytest

from ablations.engines.resources import EngineOptions, Resources


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"name": "rey"}, r"unknown --engine 'rey' \(did you mean ray\?\); allowed: local, ray"),
        ({"gpus": 0.5}, "--engine.gpus works only with --engine ray"),
        ({"name": "ray", "cpus": 0}, "--engine.cpus must be above 0"),
        ({"name": "ray", "address": 5}, "--engine.address takes text, got 5"),
        ({"name": []}, r"unknown --engine \(\)"),
    ],
)
def test_engines_that_there_are_not(engine: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EngineOptions(**engine)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"workers": 0}, "--workers must be between 1 and 1024, got 0"),
        ({"workers": "many"}, "--workers takes a whole number or auto, got 'many'"),
        ({"loader_workers": -1}, "--loader-workers must be between 0 and 1024, got -1"),
    ],
)
def test_numbers_out_of_range(resources: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Resources(**resources)  # type: ignore[arg-type]
