import json
from collections.abc import Callable

import pytest

from ablations.analysis.tables import cost_rows, count_costs
from ablations.report.readme import path_table
from convnext_path import LADDERS
from convnext_path.counting import PUBLISHED
from convnext_path.steps import Row, Step


@pytest.mark.parametrize(
    ("ladders", "there"),
    [
        (("convnext-t",), "| `mine` (tried) |  | 4.52 |  | 28.8M |  |  |  |"),
        (("convnext-b",), "| `mine` (tried) |  |  |  |  |  | 15.50 |  |"),
        (("convnext-t", "convnext-b", "convnext-nano"), "| `mine` (tried) |  | 4.52 |  | 28.8M |  | 15.50 |  |"),
        (("convnext-nano",), ""),
    ],
)
def test_a_step_of_ones_own_is_a_line_below_the_papers(
    ladders: tuple[str, ...], there: str, add_step: Callable[[Step], None]
) -> None:
    costs = json.loads(PUBLISHED.read_text())["ladders"]
    before = path_table(costs)
    add_step(Step("mine", "my step", "Mine", ("kernel_size", 9), tuple(map(Row, ladders)), adopted=False))
    for name in ladders:
        mine = LADDERS[name][-1:]
        costs[name] += cost_rows(name, mine, count_costs(mine))
    assert path_table(costs) == before + there + "\n" * bool(there)
