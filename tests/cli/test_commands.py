import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing import forkserver
from pathlib import Path

import pandas as pd
import pytest
import torch
import torchvision

from ablations.__main__ import main
from ablations.cli.commands import write_command
from ablations.engines import local
from ablations.engines.local import Job, Message, train
from ablations.engines.scheduler import Local
from ablations.study.folder import StudyFolder
from convnext_path import LADDERS
from convnext_path.kernels import build
from tests.conftest import run_small


def test_a_run_from_nothing_to_chart_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "study"
    assert run_small(folder) == 0
    out = capsys.readouterr().out
    assert "2 trials: 2 new" in out
    assert "about 0:00:" in out
    written = sorted(p.name for p in folder.iterdir())
    charts = {f"{name}.{kind}" for name in ("accuracy", "changes", "curves") for kind in ("png", "svg")}
    files = {"commands.txt", "report.html", "results.csv", "study.json", "study.log", "trials"}
    assert set(written) == charts | files
    assert "run --rungs recipe,layer_norm --seeds 1 --epochs 1 --limit-train 64" in (folder / "report.html").read_text()
    table = pd.read_csv(folder / "results.csv")
    assert list(table["rung"]) == ["recipe", "layer_norm"]
    assert table["top1"].between(0, 100).all()
    records = {file: file.read_bytes() for file in (folder / "trials").iterdir()}

    assert run_small(folder) == 0
    assert "2 trials: 2 done" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in (folder / "trials").iterdir()} == records

    assert run_small(folder, "--seeds", "0,3", "--flip", "kernel_size=5") == 0
    assert "6 trials: 2 done, 4 new" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in records} == records
    assert main(["plot", str(folder)]) == 0
    assert "kernel size 5 at layer_norm" in capsys.readouterr().out


def test_networks_are_compared_and_what_they_learned_is_kept(
    tmp_path: Path, make_images: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root, folder = make_images(tmp_path / "images", count=20), tmp_path / "study"
    options = [
        *("--data", "imagefolder", "--root", str(root), "--image-size", "32", "--batch-size", "8", "--epochs", "2"),
        *("--study", str(folder), "--wandb", "disabled", "--loader-workers", "0"),
    ]
    assert main(["compare", "--models", "shufflenet_v2_x0_5,swin-nano", *options]) == 0
    out = capsys.readouterr().out
    assert "2 trials: 2 new" in out
    assert "model" in out
    study = StudyFolder(folder)
    results = study.results()
    answers = [study.read_answers(result) for result in results]
    assert [100 * one.right.mean() for one in answers if one] == pytest.approx([result.top1 for result in results])
    text = (folder / "report.html").read_text()
    assert "of the same 8: " in text
    assert text.count("data:image/png") == 8
    assert main(["verify", str(folder)]) == 0

    file = study.weights / f"{results[0].trial.id}.pt"
    net = torchvision.models.shufflenet_v2_x0_5(num_classes=2)
    net.load_state_dict(torch.load(file, weights_only=True))
    name = f"shufflenet_v2_x0_5={file}"
    assert main(["compare", "--models", "shufflenet_v2_x0_5,swin-nano", "--weights", name, *options]) == 0
    assert "2 trials: 1 new, 1 done" in capsys.readouterr().out
    assert len(study.results()) == 3

    other = f"shufflenet_v2_x0_5={study.weights / results[1].trial.id}.pt"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "--models", "shufflenet_v2_x0_5", "--weights", other, *options])
    assert "torchvision:shufflenet_v2_x0_5 cannot begin with " in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before

    (study.answers / f"{results[1].trial.id}.json").unlink()
    assert main(["compare", "--models", "shufflenet_v2_x0_5,swin-nano", *options]) == 0
    out = capsys.readouterr().out
    assert "2 trials: 1 done, 1 unkept" in out
    assert study.read_answers(study.results()[1])

    file.write_bytes(file.read_bytes()[:-1])
    assert main(["verify", str(folder)]) == 1
    assert f"{file} is damaged" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_small(tmp_path / "study", "--dry-run") == 0
    assert "2 trials: 2 new" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def run_out_of_memory(*args: object) -> None:
    raise MemoryError("too small a machine")


def fail_recipe(job: Job, send: Callable[[Message], None]) -> None:
    if job.trial.rung == "recipe":
        local.run_trial = run_out_of_memory  # type: ignore[assignment]  # this process is the trial's own
    train(job, send)


def test_a_failed_trial_gives_exit_code_1_and_a_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablations.engines.choose.Local", partial(Local, work=fail_recipe))
    assert run_small(tmp_path / "study") == 1
    out = capsys.readouterr().out
    assert "no result: recipe, seed 0: MemoryError: too small a machine; see " in out
    assert "no result" in out
    monkeypatch.undo()
    assert run_small(tmp_path / "study") == 0
    assert "2 trials: 1 failed, 1 done" in capsys.readouterr().out


def test_the_key_of_wandb_is_written_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    key = "0123456789" + 30 * "c"
    wandb.teardown()  # it reads the environment once
    monkeypatch.setenv("WANDB_API_KEY", key)
    for name in ("DATA_DIR", "CACHE_DIR", "CONFIG_DIR", "ARTIFACT_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "wandb"))
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # the next one has this environment
    monkeypatch.setattr("ablations.engines.choose.Local", partial(Local, work=fail_recipe))
    assert run_small(tmp_path / "study", "--wandb", "offline") == 1
    wandb.teardown()  # its process writes what is left
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    kinds = {file.suffix for file in files}
    assert {".json", ".txt", ".csv", ".svg", ".wandb", ".log"} <= kinds
    assert any(b"layer_norm" in file.read_bytes() for file in files if file.suffix == ".wandb")
    assert [file for file in files if key.encode() in file.read_bytes()] == []
    streams = capfd.readouterr()
    assert key not in streams.out + streams.err
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


def test_names_with_signs_that_mean_something_elsewhere(
    tmp_path: Path, make_images: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    name = """$x^2$ [red] <b> "it's" é"""
    root = make_images(tmp_path / name, count=40)
    folder = tmp_path / f"study {name}"
    options = ["--data", "imagefolder", "--root", str(root), "--image-size", "32", "--batch-size", "8"]
    assert run_small(folder, *options, "--loader-workers", "0") == 0
    assert main(["plot", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"study   {folder}: " in out
    assert f"wrote {folder / 'accuracy.svg'}" in out
    texts = ["".join(text.itertext()) for text in ET.parse(folder / "accuracy.svg").iter()]
    assert f"convnext-nano on {name}: accuracy per step" in texts


def test_status_and_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study"
    assert run_small(study) == 0
    assert main(["status", str(study)]) == 0
    assert "2 trials: 2 done; the next run would train 0" in capsys.readouterr().out
    assert main(["verify", str(study), "--trial", "layer_norm:0"]) == 0
    out = capsys.readouterr().out
    assert "2 records intact, 0 files damaged" in out
    assert ": the same" in out
    result = StudyFolder(study).results()[0]
    StudyFolder(study).save(replace(result, top1=1.0))
    assert main(["verify", str(study), "--trial", result.trial.id]) == 1
    assert ": DIFFERENT" in capsys.readouterr().out
    (study / "trials" / f"{result.trial.id}.json").write_text("{}")
    assert main(["verify", str(study)]) == 1
    assert "1 records intact, 1 files damaged" in capsys.readouterr().out
    for command in ("status", "verify"):
        with pytest.raises(SystemExit) as stop:
            main([command, str(tmp_path)])
        assert stop.value.code == 2
    with pytest.raises(SystemExit):
        main(["verify", str(study), "--trial", "layer_nrom:0"])
    assert "did you mean layer_norm:0?" in capsys.readouterr().err


def test_damaged_and_stale_records_are_told_and_trained_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "study"
    assert run_small(folder) == 0
    study = StudyFolder(folder)
    first, second = study.results()
    older = tuple({**dict(first.origin.experiment), "torch": "1.0"}.items())
    study.save(replace(first, origin=replace(first.origin, experiment=older)))
    capsys.readouterr()
    assert run_small(folder, "--keep-stale") == 0
    out = capsys.readouterr().out
    assert "1 records, kept: torch: 1.0 in the record, " in out
    assert "warning: records made by different code, versions or images are mixed: torch 1.0, " in out
    (folder / "trials" / f"{second.trial.id}.json").write_text("{")
    assert main(["plot", str(folder), "--partial"]) == 0
    out = capsys.readouterr().out
    assert f"warning: left out: {second.trial.id}.json is not a record" in out
    assert "warning: 1 of 2 trials have no result" in out
    assert run_small(folder) == 0
    out = capsys.readouterr().out
    assert "2 trials: 1 stale, 1 damaged" in out
    assert "1 records, will be trained again (--keep-stale keeps them): torch: 1.0 in the record, " in out
    assert "is not a record; kept as " in out
    assert "several origins" not in out
    assert [result.outcome for result in study.results()] == [first.outcome, second.outcome]
    assert len(list(study.aside.iterdir())) == 3  # one of them moved there by this test


@pytest.mark.parametrize("command", ["run", "cost", "bench"])
def test_kernels_that_there_are_not(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_choice", "stok")
    with pytest.raises(SystemExit, match="2"):
        main([command])
    message = "unknown CONVNEXT_PATH_KERNELS 'stok' (did you mean stock?); allowed: auto, stock, triton"
    assert capsys.readouterr().err == f"error: {message}\n"


def test_bad_folders(tmp_path: Path, make_images: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    make_images(tmp_path / "images" / "train")
    make_images(tmp_path / "images" / "val", "cat dog eel")
    (tmp_path / "empty").mkdir()
    for root, message in [("images", "lacks: eel"), ("empty", "has no class folders")]:
        with pytest.raises(SystemExit) as stop:
            run_small(tmp_path / "study", "--data", "imagefolder", "--root", str(tmp_path / root))
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
        run_small(tmp_path / "study", *options)
    assert f"{root}/cat/0.png (no image)" in capsys.readouterr().err
    assert run_small(tmp_path / "study", *options, "--skip-bad-images") == 0
    assert "note    bad images left out: 1" in capsys.readouterr().out


def test_another_configuration_in_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_small(tmp_path / "study") == 0
    before = (tmp_path / "study" / "study.json").read_bytes()
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run_small(tmp_path / "study", "--lr", "0.5")
    assert stop.value.code == 2
    assert "recipe.enhanced.lr is 0.002 in the study and 0.5 in this run" in capsys.readouterr().err
    assert (tmp_path / "study" / "study.json").read_bytes() == before


def test_costs_in_three_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--ladder", "convnext-nano", "--format", "json", "--image-size", "32"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert main(["cost", "--ladder", "convnext-nano", "--format", "csv", "--image-size", "32"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(rows) == len(lines) - 1 == len(LADDERS["convnext-nano"])
    assert rows[0]["macs_by_operator"]["conv"] > 0
    assert main(["cost", "--ladder", "convnext-nano"]) == 0
    assert "separate_downsampling" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        "run --data imagefolder --root s3://KEY:hunter2@bucket",
        "run --data imagefolder --root https://host/x?sig=hunter2",
        "compare --models resnet18 --data imagefolder --root s3://hunter2@bucket",
        "prepare --root s3://KEY:hunter2@bucket --out elsewhere",
        "prepare --root images --out s3://KEY:hunter2@bucket/x",
        "run --engine ray --engine.address ray://me:hunter2@host:10001",
        "run --study s3://KEY:hunter2@bucket --data s3://KEY:hunter2@bucket",
    ],
)
def test_secrets_in_addresses_reach_nothing(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    streams = capsys.readouterr()
    assert stop.value.code == 2
    assert "hunter2" not in streams.out + streams.err
    assert list(tmp_path.iterdir()) == []


def test_a_kept_command_holds_no_secret() -> None:
    assert "hunter2" not in write_command(["run", "--root", "s3://KEY:hunter2@bucket", "--study", "x"])
