from pathlib import Path

import pytest

from ablations.study.trial import Trial
from ablations.training import costs
from ablations.training.costs import describe_network, remember, trial_cost
from convnext_path import Cost
from convnext_path.files import cache_file
from tests.conftest import COST

WHAT = {"network": "a"}


def fail() -> Cost:
    raise AssertionError("counted again")


def find_files() -> list[Path]:
    return sorted(cache_file("x").parent.glob("*.json"))


def test_costs_are_counted_once(trial: Trial) -> None:
    assert trial_cost(trial).all_macs > trial_cost(trial).paper_macs > 0
    assert remember(Cost, WHAT, lambda: COST) == COST
    assert remember(Cost, WHAT, fail) == COST


def test_of_other_code_they_are_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    remember(Cost, WHAT, lambda: COST)
    monkeypatch.setattr(costs, "code_digest", lambda: "other")
    with pytest.raises(AssertionError, match="counted again"):
        remember(Cost, WHAT, fail)


def test_a_damaged_file_is_counted_over() -> None:
    remember(Cost, WHAT, lambda: COST)
    (file,) = find_files()
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"7000000", b"7000001"))
    assert remember(Cost, WHAT, lambda: COST) == COST
    assert file.read_bytes() == whole


def test_without_a_home_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert remember(Cost, WHAT, lambda: COST) == COST


def test_what_a_network_is_known_by(trial: Trial) -> None:
    known = describe_network(trial.flags, trial.scale, trial.recipe)
    longer = describe_network(trial.flags, trial.scale, trial.recipe.with_epochs(99))
    assert known == longer
    assert known["kinds"] == {"flags": "Flags", "scale": "Scale"}
