import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from ablations.__main__ import main
from ablations.planning.profiles import PROFILES
from ablations.planning.throughput import (
    HELD,
    KNOWN,
    Extent,
    count_devices,
    known_extent,
    measure_extent,
    profile_pace,
    read_paces,
)
from ablations.study.trial import Plan, Trial
from ablations.training.costs import trial_cost
from convnext_path import CONVNEXT, Data, Flags, PathNet
from convnext_path.networks.flags import RESNET50
from convnext_path.tracing import count_saved
from tests.oddities import ODDITIES, place

MIXED = (("precision", "bf16-mixed"),)
RTX = PROFILES["rtx3090"]
DIGITS = Extent(100, 360, 10, 1, 32)


def write_bench(folder: Path, plan: Plan, precision: str = "fp32") -> None:
    (folder / "bench.json").write_text(json.dumps({"terms": {"batch_size": 10}, "here": {}}))
    trials = {trial.rung: trial for trial in plan.trials()}.values()
    rows = [
        {
            "rung": trial.rung,
            "precision": precision,
            "task": task,
            "source": source,
            "macs": 2 * trial_cost(trial).paper_macs,
            "images_per_second": rate * (3 if source == "stock" else 1),
            "peak_memory": 16 * trial_cost(trial).params + 10 * 4000,
        }
        for trial in trials
        for task, rate in (("training", 10), ("inference", 40))
        for source in ("ours", "stock")
    ]
    pd.DataFrame(rows).to_csv(folder / "results.csv", index=False)


def test_a_benchmarks_pace_is_scaled_to_the_images_and_the_batch(tmp_path: Path, plan: Plan) -> None:
    write_bench(tmp_path, plan)
    paces = read_paces(plan, measure_extent(plan.data), tmp_path)
    assert list(paces) == [rung.name for rung in plan.rungs]
    trial = plan.trials()[0]
    pace = paces[trial.rung]
    assert (pace.train, pace.validate) == (pytest.approx(0.05), pytest.approx(0.0125))
    assert pace.memory == pytest.approx(16 * trial_cost(trial).params + 2000 * trial.recipe.batch_size)


def test_benchmarks_that_do_not_serve(tmp_path: Path, plan: Plan) -> None:
    with pytest.raises(ValueError, match="contains no benchmark"):
        read_paces(plan, measure_extent(plan.data), tmp_path)
    write_bench(tmp_path, plan, "bf16")
    with pytest.raises(
        ValueError, match="has no training of recipe in fp32; it has: inference of layer_norm in bf16, "
    ):
        read_paces(plan, measure_extent(plan.data), tmp_path)
    assert read_paces(replace(plan, trainer=MIXED), measure_extent(plan.data), tmp_path)


@pytest.mark.parametrize(("kind", "why"), ODDITIES.items())
def test_what_is_no_file_of_a_benchmark_is_not_waited_for(
    kind: str, why: str, tmp_path: Path, plan: Plan, alarm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bench(tmp_path, plan)
    (tmp_path / "results.csv").unlink()
    place(tmp_path / "results.csv", kind)
    with pytest.raises(OSError, match=why):
        read_paces(plan, measure_extent(plan.data), tmp_path)


def test_extents_that_are_known() -> None:
    held = known_extent(Data("cifar10", holdout=0.1, limit_train=1000, image_size=64))
    assert held == replace(KNOWN["cifar10"], train=1000, val=5000, image_size=64)
    digits = Data("digits", limit_train=100)
    assert known_extent(digits) == measure_extent(digits)


def at_scale(trial: Trial, flags: Flags) -> Trial:
    return replace(trial, flags=flags, scale=RESNET50, trainer=MIXED)


@pytest.mark.parametrize(("flags", "rate"), [(Flags(), 1218.01), (CONVNEXT, 819.24)])
def test_a_profile_gives_back_what_was_measured(flags: Flags, rate: float, trial: Trial) -> None:
    pace = profile_pace(at_scale(trial, flags), KNOWN["imagenet"], PROFILES["rtx3090"])
    assert 1 / pace.train == pytest.approx(rate, rel=2e-4)


def test_what_fitted_into_memory_and_what_did_not(trial: Trial) -> None:
    """ResNet-50 trained 512 images at a time in the 24 GB of the same results, and the next step was 640."""
    recipe = replace(trial.recipe, layer_scale=None)
    trials = [replace(at_scale(trial, Flags()), recipe=replace(recipe, batch_size=batch)) for batch in (512, 640)]
    fitted, larger = (profile_pace(t, KNOWN["imagenet"], RTX).memory for t in trials)
    assert fitted < RTX.memory < larger


def test_what_is_kept_is_what_a_step_keeps(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVNEXT_PATH_KERNELS", "stock")
    net = PathNet(trial.flags, trial.scale, 10, 1, trial.recipe.layer_scale)
    whole, one_more = (count_saved(net, torch.zeros(number, 1, 32, 32)) for number in (50, 51))
    assert DIGITS.count_kept(trial) == one_more - whole > 32 * 32


def test_devices_share_a_batch(trial: Trial) -> None:
    one = profile_pace(at_scale(trial, CONVNEXT), KNOWN["imagenet"], RTX)
    shared = replace(at_scale(trial, CONVNEXT), trainer=(*MIXED, ("devices", "4"), ("num_nodes", 2)))
    eight = profile_pace(shared, KNOWN["imagenet"], RTX)
    assert count_devices(shared) == 8
    assert (eight.train, eight.validate) == (pytest.approx(one.train / 8), pytest.approx(one.validate / 8))
    held = HELD * KNOWN["imagenet"].cost(shared).params
    assert eight.memory - held == pytest.approx((one.memory - held) / 8)


def plan_words(*options: str) -> list[str]:
    return ["plan", "--ladder", "convnext-t", "--rungs", "resnet,recipe", "--data", "imagenet", *options]


def test_a_plan_for_images_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--precision", "bf16-mixed", "--profile", "a100", "--at-once", "1,8"]
    assert main(plan_words(*options)) == 1
    assert "recipe" in (out := capsys.readouterr().out)
    assert "does not fit" in out
    assert main(plan_words(*options, "--trainer.devices", "8")) == 0
    out = capsys.readouterr().out
    assert "DeepLearningExamples" in out
    assert "6 trials, each of 8 devices, " in out
    assert "with 1 at once: too few" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "a101"], "unknown --profile 'a101' (did you mean a100?)"),
        (["--profile", "a100"], "needs mixed precision; add --precision bf16-mixed"),
        (["--profile", "a100", "--bench", "x"], "give only one"),
        (["--bench", "nowhere"], "nowhere contains no benchmark"),
        (["--trainer.devices", "2", "--root", "x"], "a trial on several devices is not measured here, but computed"),
        (
            ["--profile", "a100", "--trainer.devices", "auto"],
            "a plan needs numbers for --trainer.devices and",
        ),
        (["--profile", "a100", "--trainer.devices", "3"], "cannot be shared by 3 processes"),
        (
            ["--profile", "a100", "--image-size", "3", "--rungs", "layer_norm"],
            "image size 3 is too small for rung layer_norm, which needs 4",
        ),
        ([], "imagenet needs a root"),
    ],
)
def test_plans_that_cannot_be_made(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(plan_words(*options))
    assert message in capsys.readouterr().err
