from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from ablations.bench import networks
from ablations.bench.networks import Case, Row, Setting, make_loader, measure_shares
from ablations.bench.steps import TrainingStep
from convnext_path.kernels import build, channels, depthwise, gelu
from tests.bench.conftest import make_row, run_bench


@pytest.mark.usefixtures("tiny_peers")
def test_what_cannot_be_compiled_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(images: torch.Tensor) -> None:
        raise RuntimeError("no compiler\nand more")

    monkeypatch.setattr(nn.Module, "compile", lambda net: setattr(net, "forward", fail))
    assert run_bench(tmp_path, "--against", "timm,timm", "--precision", "fp32") == 0
    assert "resnet, fp32, training: timm compiled is left out: no compiler\n" in capsys.readouterr().out
    assert "compiled" not in set(pd.read_csv(tmp_path / "results.csv")["way"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ladder", "convnext-x"], "unknown ladder 'convnext-x' (did you mean convnext-t?)"),
        (["--rungs", "resnet,gelo"], "unknown rung 'gelo' (did you mean gelu?)"),
        (
            ["--against", "torchvison"],
            "unknown peer 'torchvison' (did you mean torchvision?); allowed: torchvision, timm",
        ),
        (["--against", "timm,"], "unknown peer ''"),
        (["--device", "cuda:77"], "unknown device of this machine 'cuda:77'"),
        (["--precision", "fp32,fp16"], "unknown precision 'fp16'"),
        (["--image-size", "31"], "--image-size for separate_downsampling must be between 32 and 4096, got 31"),
        (["--image-size", "4097"], "must be between 32 and 4096, got 4097"),
        (["--batch-size", "1"], "--batch-size must be between 2 and 65536, got 1"),
        (["--batch-size", "many"], "--batch-size"),
        (["--repeats", "0"], "--repeats must be between 1 and 1000, got 0"),
        (["--seconds", "-1"], "--seconds must be between 0 and 600, got -1.0"),
        (["--seconds", "nan"], "--seconds takes a number, got 'nan'"),
        (["--out", "/dev/null/bench"], "/dev/null/bench: Not a directory"),
        (["--repeat", "3"], "unknown option --repeat; did you mean --repeats?"),
    ],
)
def test_bad_input_ends_with_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_bench(tmp_path / "bench", "--rungs", "separate_downsampling", *options)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_no_machine_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_bench(tmp_path, "--batch-size", "65536", "--image-size", "4096")
    assert "resnet, fp32, training: a batch of 65536 at 4096 px does not fit" in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError()])
def test_want_of_memory_has_many_names(error: Exception) -> None:
    assert networks.is_out_of_memory(error)


def test_other_errors_are_not_taken_for_want_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(TrainingStep, "forward", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        run_bench(tmp_path)


def test_a_rows_arithmetic() -> None:
    assert make_row().milliseconds == 20.0
    assert make_row().fraction == pytest.approx(2 * 3 * 1e9 * 50 / 1e12)
    assert make_row(task="inference").fraction == pytest.approx(2 * 1e9 * 50 / 1e12)
    assert Row.from_dict(make_row(shares=(0.1, 0.2, 0.3, 0.4)).to_dict()).shares == (0.1, 0.2, 0.3, 0.4)


def test_shares_are_of_the_whole_step(setting: Setting) -> None:
    case = Case(setting, setting.rungs[0], "fp32", "training")
    images, labels = make_loader(case)()  # type: ignore[misc]
    assert (images.shape, images.dtype, labels.shape) == ((4, 3, 32, 32), torch.float32, (4,))
    step = networks.list_contestants(case)[0].make_step(case)
    assert isinstance(step, TrainingStep)
    assert sum(measure_shares(case, step)) == pytest.approx(1)


def test_a_stock_step_is_the_same_by_torchs_own_operations(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, call = [], build.call
    for kernels in (channels, depthwise, gelu):
        monkeypatch.setattr(kernels, "call", lambda name, *rest: calls.append(name) or call(name, *rest))
    counts = {}
    for contestant in networks.list_contestants(Case(setting, setting.rungs[0], "fp32", "training")):
        contestant.make_step(Case(setting, setting.rungs[0], "fp32", "training"))()
        counts[contestant.source] = len(calls)
        calls.clear()
    assert counts["ours"] > counts["stock"] == 0
