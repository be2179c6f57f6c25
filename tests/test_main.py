import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ablations.__main__ import main
from ablations.engine import Terms
from ablations.process import Job, Message, train
from ablations.study import Study

SMALL = ["--rungs", "recipe,layer_norm", "--seeds", "1", "--epochs", "1", "--limit-train", "64", "--wandb", "disabled"]


def run(folder: Path, *options: str) -> int:
    return main(["run", *SMALL, "--study", str(folder), *options])


def test_a_run_from_nothing_to_chart_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "study"
    assert run(folder) == 0
    out = capsys.readouterr().out
    assert "2 trials: 2 new" in out
    assert "about 0:00:" in out
    written = sorted(p.name for p in folder.iterdir())
    assert written == ["accuracy.png", "accuracy.svg", "results.csv", "road.png", "road.svg", "study.json", "trials"]
    table = pd.read_csv(folder / "results.csv")
    assert list(table["rung"]) == ["recipe", "layer_norm"]
    assert table["top1"].between(0, 100).all()
    records = {file: file.read_bytes() for file in (folder / "trials").iterdir()}

    assert run(folder) == 0
    assert "2 trials: 2 done" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in (folder / "trials").iterdir()} == records

    assert run(folder, "--seeds", "0,3", "--flip", "kernel_size=5") == 0
    assert "6 trials: 2 done, 4 new" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in records} == records
    assert main(["plot", str(folder)]) == 0
    assert "kernel size 5 at layer_norm" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "study", "--dry-run") == 0
    assert "2 trials: 2 new" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def fail_recipe(job: Job, send: Callable[[Message], None]) -> None:
    if job.trial.rung == "recipe":
        raise MemoryError("too small a machine")
    train(job, send)


def test_a_failed_trial_gives_exit_code_1_and_a_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablations.__main__.Terms", partial(Terms, work=fail_recipe))
    assert run(tmp_path / "study") == 1
    out = capsys.readouterr().out
    assert "no result: recipe, seed 0: MemoryError: too small a machine; see " in out
    assert "no result" in out
    monkeypatch.undo()
    assert run(tmp_path / "study") == 0
    assert "2 trials: 1 failed, 1 done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run --ladder convnext-x", "unknown ladder 'convnext-x' (did you mean convnext-t?)"),
        ("run --rungs depthwize", "unknown rung 'depthwize' (did you mean depthwise?)"),
        ("run --data digit", "unknown data set 'digit' (did you mean digits?)"),
        ("run --recipe imagnet", "unknown recipe 'imagnet' (did you mean imagenet?)"),
        ("run --wandb ofline", "unknown --wandb mode 'ofline' (did you mean offline?)"),
        ("run --epoch 3", "unknown option --epoch; did you mean --epochs?"),
        ("run --trainer.presicion 16", "unknown option --trainer.presicion; did you mean --trainer.precision?"),
        ("run --xyzzy", "unknown option --xyzzy; see --help"),
        ("run --epochs 0", "--epochs must be at least 1, got 0"),
        ("run --epochs many", "--epochs takes int, got many"),
        ("run --seeds few", "--seeds takes a number of seeds"),
        ("run --trainer.precision 17", "--trainer.precision takes"),
        ("run --image-size 31", "image side 31 is too small for rung separate_downsampling, which needs 32"),
        ("run --data imagefolder --root /nowhere", "no folder /nowhere"),
        ("cost --ladder convnext-x", "unknown ladder"),
        ("cost --format xml", "unknown --format 'xml'; allowed: table, csv, json"),
        ("cost --image-size 8", "--image-size must be at least 32, got 8"),
        ("plot /nowhere", "/nowhere holds no study"),
        ("draw", "draw"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    command: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    streams = capsys.readouterr()
    assert stop.value.code == 2
    assert streams.out == ""
    assert streams.err.startswith("error: ")
    assert streams.err.count("\n") == 1
    assert message in streams.err
    assert list(tmp_path.iterdir()) == []


def test_bad_folders(tmp_path: Path, make_images: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    make_images(tmp_path / "images" / "train")
    make_images(tmp_path / "images" / "val", "cat dog eel")
    (tmp_path / "empty").mkdir()
    for root, message in [("images", "lacks: eel"), ("empty", "has no class folders")]:
        with pytest.raises(SystemExit) as stop:
            run(tmp_path / "study", "--data", "imagefolder", "--root", str(tmp_path / root))
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_bad_images_stop_a_run_unless_skipped(
    tmp_path: Path, make_images: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_images(tmp_path / "images", count=50)
    (root / "cat" / "0.png").write_text("no image")
    options = ("--data", "imagefolder", "--root", str(root), "--batch-size", "16", "--dry-run")
    with pytest.raises(SystemExit):
        run(tmp_path / "study", *options)
    assert f"{root}/cat/0.png (no image)" in capsys.readouterr().err
    assert run(tmp_path / "study", *options, "--skip-bad-images") == 0
    assert "note    bad images left out: 1" in capsys.readouterr().out


def test_another_configuration_in_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "study") == 0
    before = (tmp_path / "study" / "study.json").read_bytes()
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "study", "--lr", "0.5")
    assert stop.value.code == 2
    assert "recipe.enhanced.lr is 0.002 there and 0.5 here" in capsys.readouterr().err
    assert (tmp_path / "study" / "study.json").read_bytes() == before


def test_config_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", *SMALL, "--print_config"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    config = yaml.safe_load(text)
    assert (config["epochs"], config["rungs"]) == (1, "recipe,layer_norm")
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert main(["run", "--config", str(file), "--study", str(tmp_path / "study"), "--dry-run"]) == 0
    assert "2 trials: 2 new" in capsys.readouterr().out
    file.write_text(text + "epohcs: 3\n")
    with pytest.raises(SystemExit) as stop:
        main(["run", "--config", str(file)])
    assert stop.value.code == 2
    assert "epohcs" in capsys.readouterr().err


def test_costs_in_three_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--ladder", "convnext-nano", "--format", "json", "--image-size", "32"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert main(["cost", "--ladder", "convnext-nano", "--format", "csv", "--image-size", "32"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert (len(rows), len(lines)) == (17, 18)
    assert rows[0]["macs_by_operator"]["conv"] > 0
    assert main(["cost", "--ladder", "convnext-nano"]) == 0
    assert "separate_downsampling" in capsys.readouterr().out


def start(*options: str) -> subprocess.Popen[str]:
    """A driver of its own. Ctrl-C reaches it even where the tests run in the background, deaf to it."""
    command = [sys.executable, "-m", "ablations", "run", *options]
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=listen)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_and_started_again_trains_only_what_was_missing(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    options = [*SMALL, "--seeds", "4", "--study", str(folder)]
    with start(*options) as process:
        wait_until(lambda: len(list(folder.glob("trials/*.json"))) >= 2)
        process.kill()
    before = {file: file.read_bytes() for file in folder.glob("trials/*.json")}
    assert 2 <= len(before) < 8
    command = [sys.executable, "-m", "ablations", "run", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"8 trials: {len(before)} done, " in done
    assert f"1/{8 - len(before)}  " in done
    assert {file: file.read_bytes() for file in before} == before
    assert len(Study(folder).results()) == 8


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_a_training_and_save_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    study = tmp_path / "study"
    with start("--rungs", "recipe", "--epochs", "500", "--wandb", "disabled", "--study", str(study)) as process:
        try:
            wait_until((study / "trials").exists)
            time.sleep(3)  # now it trains
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    assert ("the same command goes on from here" in errors) == (code == 130)
    assert "Traceback" not in errors
    assert list((study / "trials").iterdir()) == []
