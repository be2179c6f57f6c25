from pathlib import Path

import pytest

from ablations.study.keeping import Keeping, choose_sending
from ablations.study.trial import Plan


def test_a_studys_folder_is_named_or_follows_from_the_plan(plan: Plan) -> None:
    assert Keeping(study="here").find_folder(plan) == Path("here")
    assert Keeping().find_folder(plan) == Path("results/convnext-nano-digits")


def test_modes_of_wandb() -> None:
    with pytest.raises(ValueError, match=r"unknown --wandb mode 'ofline' \(did you mean offline\?\)"):
        Keeping(wandb="ofline")  # type: ignore[arg-type]
    assert choose_sending("offline") == "offline"
    with pytest.raises(ValueError, match="unknown --mode 'disabled'"):
        choose_sending("disabled")
