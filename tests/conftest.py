"""Small things that many tests train."""

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from ablations.study import Plan, Trial
from convnext_path import LADDERS, RECIPES, Data, Scale, depthwise
from convnext_path.cache import cache_file

TINY = Scale((1, 1, 2, 1), (1, 1, 1, 2), width=16, ratio_width=16, wide_width=20)
DIGITS = Data("digits", limit_train=100)


@pytest.fixture(scope="session")
def kernels() -> list[Path]:
    """Compiled kernels from the user's own cache: each takes seconds to make."""
    depthwise.load()
    return list(cache_file("x").parent.glob("depthwise-*.so"))


@pytest.fixture(autouse=True)
def _cache(kernels: list[Path], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder for each test, empty but for the kernels."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    cache_file("x").parent.mkdir()
    for file in kernels:
        shutil.copy(file, cache_file(file.name))


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


@pytest.fixture
def make_cifar() -> Callable[..., Path]:
    """Write a small CIFAR as it is when unpacked: 4 images a file, of 10 classes."""

    def make(root: Path, name: str = "cifar10") -> Path:
        source, noise = getattr(datasets, name.upper()), np.random.default_rng(0)
        folder = root / source.base_folder
        folder.mkdir(parents=True)
        names = {source.meta["key"]: [f"class {i}" for i in range(10)]}
        (folder / source.meta["filename"]).write_bytes(pickle.dumps(names, protocol=2))
        for file, _ in (*source.train_list, *source.test_list):
            labels = "labels" if name == "cifar10" else "fine_labels"
            pixels = noise.integers(0, 256, (4, 3072), dtype=np.uint8)
            batch = {"data": pixels, labels: noise.integers(0, 10, 4).tolist()}
            (folder / file).write_bytes(pickle.dumps(batch, protocol=4))
        return folder

    return make
