from dataclasses import replace
from typing import Any

import pytest

from ablations.study.limits import check_steps, check_terms
from ablations.study.trial import Plan, Seen


@pytest.mark.parametrize(
    "name", ["", "  ", "a\nb", "a\0b", "caf\udce9", "\x1b[31mred", "n" * 401, "a\u202eb"], ids=ascii
)
@pytest.mark.parametrize("where", ["ladder", "name", "title"])
def test_names_that_files_and_charts_cannot_hold(plan: Plan, name: str, where: str) -> None:
    rungs = plan.rungs if where == "ladder" else (replace(plan.rungs[0], **{where: name}), *plan.rungs[1:])
    plan = replace(plan, rungs=rungs, ladder=name if where == "ladder" else plan.ladder)
    with pytest.raises(ValueError, match="a name must have 1 to 400 printable characters, got "):
        check_terms(plan)


@pytest.mark.parametrize("name", ["gelu", "Größe 7 × 7", "resnet18/net.pth", "$x$", "n" * 400])
def test_names_of_other_kinds(plan: Plan, name: str) -> None:
    check_terms(replace(plan, rungs=(replace(plan.rungs[0], name=name, title=name), *plan.rungs[1:])))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainer": (("max_epochs", 3),)}, "unknown option of the trainer 'max_epochs'"),
        ({"trainer": (("limit_val_batches", -1),)}, "--trainer.limit_val_batches must be above 0 and finite, got -1"),
        (
            {"trainer": (("accumulate_grad_batches", 0),)},
            "accumulate_grad_batches must be between 1 and 1000000000, got 0",
        ),
        ({"trainer": (("num_nodes", -1),)}, "--trainer.num_nodes must be between 1 and 1000000000, got -1"),
        ({"trainer": (("precision", "8-bit"),)}, "unknown --trainer.precision '8-bit'; allowed: 64, "),
    ],
)
def test_plans_that_no_request_comes_to(plan: Plan, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_terms(replace(plan, **changes))


def test_every_recipe_is_looked_at(plan: Plan) -> None:
    large = replace(plan.recipes[0][1], batch_size=100)
    plan = replace(plan, recipes=(*plan.recipes, ("original", large)), trainer=(("accumulate_grad_batches", 2),))
    with pytest.raises(ValueError, match="--trainer.accumulate_grad_batches takes 1 to 1, "):
        check_steps(plan, Seen(100, 360, 10, 32, 1))
