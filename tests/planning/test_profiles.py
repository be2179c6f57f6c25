import pytest

from ablations.planning.profiles import Machine


def test_a_machine_is_this_one_or_another() -> None:
    assert Machine().is_here
    assert not Machine(profile="a100").is_here
    assert not Machine(bench="folder").is_here


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        ({"profile": "a101"}, r"unknown --profile 'a101' \(did you mean a100\?\)"),
        ({"profile": "a100", "bench": "x"}, "give only one"),
        ({"price": -1}, "--price must be between 0 and 1000000.0, got -1"),
        ({"memory": 0}, "--memory must be above 0 and finite, got 0"),
    ],
)
def test_machines_that_there_are_not(machine: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Machine(**machine)  # type: ignore[arg-type]
