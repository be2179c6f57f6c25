"""Small things that many tests train."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablations.study import Plan, Trial
from convnext_path import LADDERS, RECIPES, Data, Scale

TINY = Scale((1, 1, 2, 1), (1, 1, 1, 2), width=16, ratio_width=16, wide_width=20)
DIGITS = Data("digits", limit_train=100)


@pytest.fixture
def plan() -> Plan:
    """Two rungs of a tiny ladder, two seeds, 100 digits, one epoch."""
    rungs = tuple(replace(r, scale=TINY) for r in LADDERS["convnext-nano"] if r.name in ("recipe", "layer_norm"))
    recipe = replace(RECIPES["digits"]["enhanced"].with_epochs(1), batch_size=50)
    return Plan("convnext-nano", rungs, (0, 1), DIGITS, (("enhanced", recipe),))


@pytest.fixture
def trial(plan: Plan) -> Trial:
    return plan.trials()[0]


@pytest.fixture
def make_images() -> Callable[..., Path]:
    """Write ``count`` random images of ``size`` into each of a folder's class folders."""

    def make(root: Path, classes: str = "cat dog", count: int = 5, size: tuple[int, int] = (40, 36)) -> Path:
        noise = np.random.default_rng(0)
        for name in classes.split():
            folder = root / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(noise.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        return root

    return make
