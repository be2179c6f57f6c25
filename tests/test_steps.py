import json

import pytest

from convnext_path.steps import STEPS, SWIN_STEPS, SWIN_V2_STEPS, VIT_STEPS, Row, Step


@pytest.mark.parametrize("steps", [STEPS, SWIN_STEPS, SWIN_V2_STEPS, VIT_STEPS])
def test_steps_have_names_of_their_own_and_a_row_a_ladder(steps: tuple[Step, ...]) -> None:
    assert len({step.name for step in steps}) == len(steps)
    for step in steps:
        assert len({row.ladder for row in step.rows}) == len(step.rows) > 0
        assert Step.from_dict(json.loads(json.dumps(step.to_dict()))) == step


def test_a_step_is_on_the_ladders_that_it_has_rows_of() -> None:
    step = Step("mine", "my step", "Mine", ("gelu", True), (Row("convnext-t", 80.0), Row("convnext-nano")))
    assert step.find_row("convnext-t") == Row("convnext-t", 80.0)
    assert step.find_row("convnext-nano") == Row("convnext-nano")
    assert step.find_row("convnext-b") is None
