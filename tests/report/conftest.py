"""Steps of small studies, and names that people and file systems give."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st

from ablations.analysis.stats import Step, summarize
from ablations.study.trial import Plan
from convnext_path import LADDERS
from tests.conftest import fake_result

#: Any text, and what a folder's name holds that is no UTF-8.
NAMES = st.text(
    st.characters(codec=None) | st.sampled_from("$\\_^{}<>&\"'\n\0\x1b\u202e\u2028\ufffe\udcff中あ한ไाअ🚀 "),
    max_size=80,
)

#: One of each kind of name that was ever a fault.
HARD = (
    "w" * 255,
    "many words " * 23,
    "W" * 10_000,
    "中文" * 60,
    "日本語 한국어 العربية עברית हिन्दी ไทย 🚀😀",
    "$x^2$ \\frac{ _^ {",
    "<script>alert(1)</script> &amp; ]]> -->",
    "caf\udce9 \ud800 \x00\x07\x1b[31m\r\n\t\u202e\u2028\ufeff\ufffe\U0010ffff",
    'href="#a url(#b) id="c #222222 [red]\\[/red]',
    "",
    "   ",
)


@pytest.fixture(scope="session")
def make_steps(plan: Plan) -> Callable[..., list[Step]]:
    """So many steps of a ladder; ``rung`` and ``result`` say what differs, from the place and from the trial."""

    def make(count: int, rung: dict[str, Any] | None = None, **result: Callable[[int, int], Any]) -> list[Step]:
        ladder = LADDERS["convnext-nano"]
        rungs = [replace(ladder[i % len(ladder)], name=f"{i}", base=None, **(rung or {})) for i in range(count)]
        recipes = tuple((name, plan.recipes[0][1]) for name in ("original", "enhanced"))
        wide = replace(plan, rungs=tuple(rungs), recipes=recipes)
        results = []
        for trial in wide.trials():
            terms = {name: value(int(trial.rung), trial.seed) for name, value in result.items()}
            results.append(replace(fake_result(trial, 80 + int(trial.rung) % 10 + trial.seed / 2), **terms))
        return summarize(wide, results)

    return make


@pytest.fixture
def steps(plan: Plan) -> list[Step]:
    """The whole small ladder, one rung without a result and one of a seed."""
    recipes = tuple((name, plan.recipes[0][1]) for name in ("original", "enhanced"))
    plan = replace(plan, rungs=LADDERS["convnext-nano"], recipes=recipes)
    scores = {rung.name: 80.0 + i / 2 for i, rung in enumerate(plan.rungs)}
    lost = [("gelu", 0), ("gelu", 1), ("layer_norm", 1)]
    results = [fake_result(t, scores[t.rung] + t.seed) for t in plan.trials() if (t.rung, t.seed) not in lost]
    return summarize(plan, results)
