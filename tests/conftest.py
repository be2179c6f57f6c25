"""Small things that many tests train."""

import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from ablations.__main__ import main
from ablations.study.folder import StudyFolder
from ablations.study.origin import Fingerprint, Origin, Sketch
from ablations.study.trial import Epoch, Plan, Result, Trial
from ablations.training.status import Wanted, find_pending, survey
from convnext_path import LADDERS, RECIPES, Cost, Data, Scale
from convnext_path.files import cache_file
from convnext_path.kernels import build
from convnext_path.ladder import ROADS, make_ladders
from convnext_path.steps import STEPS, Step

TINY = Scale((1, 1, 2, 1), (1, 1, 1, 2), width=16, ratio_width=16, wide_width=20)
#: A run of two trials in seconds.
SMALL = ["--rungs", "recipe,layer_norm", "--seeds", "1", "--epochs", "1", "--limit-train", "64", "--wandb", "disabled"]
DIGITS = Data("digits", limit_train=100)
ORIGIN = Origin((("code", "abc"), ("torch", "2.15.0")), (("device", "cpu"), ("processor", "AVX2")))
SKETCHES = (Sketch("initial weights", 0.04, 0.001), Sketch("training images", 1.0, 0.5))
COST = Cost(100, (("conv", 7_000_000), ("linear", 500), ("layer_norm", 20)), 50)


def fake_result(trial: Trial, top1: float = 90.0) -> Result:
    curve = (Epoch(1, 0.001, 2.0), Epoch(2, 0.0, 1.0, 0.5, top1, 99.0))
    steps = Fingerprint((2.5, 2.25), "def", (2.5, 2.375), (0.001, 0.0), "AdamW", SKETCHES)
    return Result(trial, COST, top1, 99.0, curve, 1.5, 1000.0, 10**9, ORIGIN, (("python", "3.12"),), "abc", steps)


def pending(study: StudyFolder, plan: Plan) -> list[Trial]:
    return find_pending(survey(study, plan, Wanted(ORIGIN))[0])


@pytest.fixture(scope="session")
def kernels() -> list[Path]:
    """The compiled kernels, if there are any, from the user's own cache: they take seconds to make."""
    library = build.load().functions
    return [file] if library and (file := Path(library._name)).exists() else []


@pytest.fixture(autouse=True)
def _cache(kernels: list[Path], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder for each test, empty but for the kernels."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    cache_file("x").parent.mkdir(mode=0o700)
    for file in kernels:
        shutil.copy(file, cache_file(file.name))


@pytest.fixture
def alarm() -> Iterator[None]:
    """End what never ends."""

    def ring(number: int, frame: object) -> None:
        raise AssertionError("it never ends")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def plan() -> Plan:
    """Two rungs of a tiny ladder, two seeds, 100 digits, one epoch."""
    rungs = tuple(replace(r, scale=TINY) for r in LADDERS["convnext-nano"] if r.name in ("recipe", "layer_norm"))
    recipe = replace(RECIPES["digits"]["enhanced"].with_epochs(1), batch_size=50)
    return Plan("convnext-nano", rungs, (0, 1), DIGITS, (("enhanced", recipe),))


@pytest.fixture
def trial(plan: Plan) -> Trial:
    return plan.trials()[0]


@pytest.fixture
def add_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Step], None]:
    """Let the road end with a step more, as if it stood in :data:`STEPS`."""

    def add(step: Step) -> None:
        steps = (*STEPS, step)
        roads = {name: replace(road, steps=steps) if road.steps is STEPS else road for name, road in ROADS.items()}
        for name, rungs in make_ladders(roads).items():
            monkeypatch.setitem(LADDERS, name, rungs)
        monkeypatch.setattr("ablations.report.readme.STEPS", steps)

    return add


@pytest.fixture(scope="session")
def make_images() -> Callable[..., Path]:
    """Write ``count`` random images of ``size`` into each of a folder's class folders; others for another name."""

    def make(root: Path, classes: str = "cat dog", count: int = 5, size: tuple[int, int] = (40, 36)) -> Path:
        noise = np.random.default_rng([*root.name.encode()])
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


def run_small(folder: Path, *options: str) -> int:
    """The command ``run`` in this process."""
    return main(["run", *SMALL, "--study", str(folder), *options])


def start_driver(*options: str, **more: Any) -> subprocess.Popen[str]:
    """A driver of its own. Ctrl-C reaches it even where the tests run in the background, deaf to it."""
    command = [sys.executable, "-m", "ablations", "run", *options]
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, preexec_fn=listen, **streams, **more)


def wait_until(true: Callable[[], object], seconds: float = 120, pause: float = 0.002) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
