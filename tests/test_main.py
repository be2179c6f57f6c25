import itertools
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from multiprocessing import forkserver
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ablations import process
from ablations.__main__ import main
from ablations.engine import Terms
from ablations.parser import make_cost_parser, make_run_parser, name_types
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


def run_out_of_memory(*args: object) -> None:
    raise MemoryError("too small a machine")


def fail_recipe(job: Job, send: Callable[[Message], None]) -> None:
    if job.trial.rung == "recipe":
        process.run_trial = run_out_of_memory  # type: ignore[assignment]  # this process is the trial's own
    train(job, send)


def test_a_failed_trial_gives_exit_code_1_and_a_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablations.commands.Terms", partial(Terms, work=fail_recipe))
    assert run(tmp_path / "study") == 1
    out = capsys.readouterr().out
    assert "no result: recipe, seed 0: MemoryError: too small a machine; see " in out
    assert "no result" in out
    monkeypatch.undo()
    assert run(tmp_path / "study") == 0
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
    monkeypatch.setattr("ablations.commands.Terms", partial(Terms, work=fail_recipe))
    assert run(tmp_path / "study", "--wandb", "offline") == 1
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
    assert run(folder, *options, "--loader-workers", "0") == 0
    assert main(["plot", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"study   {folder}: " in out
    assert f"wrote {folder / 'road.svg'}" in out
    texts = ["".join(text.itertext()) for text in ET.parse(folder / "road.svg").iter()]
    assert f"convnext-nano on {name}: the road" in texts


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
        ("run --epochs 0", "--epochs must be between 1 and 1000000, got 0"),
        ("run --epochs many", "--epochs takes int, got 'many'"),
        ("run --seeds few", "--seeds takes a number of seeds"),
        ("run --trainer.precision 17", "--trainer.precision takes"),
        ("run --image-size 31", "image side 31 is too small for rung separate_downsampling, which needs 32"),
        ("run --data imagefolder --root /nowhere", "no folder /nowhere"),
        ("cost --ladder convnext-x", "unknown ladder"),
        ("cost --format xml", "unknown --format 'xml'; allowed: table, csv, json"),
        ("cost --image-size 8", "--image-size must be between 32 and 4096, got 8"),
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


#: Values that an option refuses, besides what is not of its type.
REFUSED = {
    "--ladder": ["", "word"],
    "--rungs": ["", ",", "word", "recipe,"],
    "--flip": ["", ",", "word", "=", "kernel_size=", "kernel_size=nan"],
    "--data": ["", "word"],
    "--image-size": ["0", "-1", "1" + 400 * "0"],
    "--limit-train": ["0", "-1", "1" + 400 * "0"],
    "--holdout": ["-1", "1", "1e400", ".nan"],
    "--mean": ["", ",", "word", "nan", "inf", "1,2,nan", "1e400", "1,2"],
    "--std": ["", ",", "word", "nan", "-inf", "1,2,nan", "1e400", "1,2", "0", "-1"],
    "--recipe": ["", "word"],
    "--epochs": ["0", "-1", "1" + 400 * "0"],
    "--batch-size": ["0", "1", "-1", "1" + 400 * "0"],
    "--lr": ["0", "-1", "1e400", ".nan", ".inf"],
    "--seeds": ["", ",", "word", "nan", "inf", "0", "-1", "1.5", "1e400", "1,,2", "1" + 400 * "0"],
    "--precision": ["", "word"],
    "--wandb": ["", "word"],
    "--loader-workers": ["-1", "1" + 400 * "0"],
    "--trainer.accelerator": ["", "word"],
    "--trainer.strategy": ["", "word", "subprocess.Popen"],
    "--trainer.devices": ["", "word", "0", "-1", "2", "nan", "[]"],
    "--trainer.num_nodes": ["0", "-1", "2"],
    "--trainer.limit_train_batches": ["0", "-1", "1.5", "1e400", ".nan"],
    "--trainer.limit_val_batches": ["0", "-1", "1.5", "1e400", ".nan"],
    "--trainer.val_check_interval": ["", "word", "0", "-1", "1.5", "1e400", ".nan", "nan"],
    "--trainer.check_val_every_n_epoch": ["0", "-1"],
    "--trainer.num_sanity_val_steps": ["-2"],
    "--trainer.log_every_n_steps": ["-1"],
    "--trainer.accumulate_grad_batches": ["0", "-1"],
    "--trainer.gradient_clip_val": ["0", "-1", "1e400", ".nan"],
    "--trainer.gradient_clip_algorithm": ["", "word"],
    "--format": ["", "word"],
}
ANY = {"--root", "--study"}  # take any string
PARSERS = {"run": make_run_parser(), "cost": make_cost_parser()}
OPTIONS = [
    (command, option)
    for command, parser in PARSERS.items()
    for option in parser._option_string_actions
    if option.startswith("--") and not option.endswith("+")
]


def wrong_values(command: str, option: str) -> Iterator[str]:
    """What an option of that type cannot take, whatever it means, and what it refuses for what it means."""
    action = PARSERS[command]._option_string_actions[option]
    names = name_types(action._typehint) if hasattr(action, "_typehint") else ["str"]
    if "str" not in names:
        yield from ("", "word", "nan", "inf", "-inf", "[1]", "{}")
    if names == ["int"]:
        yield from ("1.5", "1e400", "true")
    if names == ["bool"]:
        yield from ("1", "0", "maybe", "1e400")
    yield from REFUSED.get(option, []) if (command, option) != ("cost", "--ladder") else ["", "word"]


def refuse(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """The one line that a command ends with, and nothing written."""
    with pytest.raises(SystemExit) as stop:
        main(command)
    streams = capsys.readouterr()
    assert stop.value.code == 2, command
    assert streams.out == ""
    assert streams.err.startswith("error: ")
    assert streams.err.count("\n") == 1, streams.err
    assert list(Path.cwd().iterdir()) == []
    return streams.err


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_misspelt_gives_the_nearest(
    command: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for wrong in (option[:-2] + option[-1] + option[-2], option[:3] + option[4:]):
        for given in ([wrong, "1"], [f"{wrong}=1"], [wrong]):
            assert f"unknown option {wrong}; did you mean {option}?" in refuse(capsys, command, *given)


@pytest.mark.parametrize(("command", "option"), [(c, o) for c, o in OPTIONS if any(wrong_values(c, o))])
def test_every_option_refuses_what_it_cannot_take(
    command: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    machine = ["--trainer.accelerator=cpu"] if command == "run" else []
    name = option.strip("-").split(".")[-1].replace("_", "-").rstrip("s")
    for value in wrong_values(command, option):
        line = refuse(capsys, command, *machine, f"{option}={value}")
        assert name in line.lower().replace("_", "-"), (value, line)


def test_every_option_is_thought_of() -> None:
    switches = {"--dry-run", "--join", "--keep-stale", "--skip-bad-images"}
    untyped = {"--help", "--config", "--print_config", "--trainer", *switches}
    options = {option for _, option in OPTIONS}
    assert {option for command, option in OPTIONS if any(wrong_values(command, option))} == options - untyped - ANY
    assert set(REFUSED) <= options


def test_status_and_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study"
    assert run(study) == 0
    assert main(["status", str(study)]) == 0
    assert "2 trials: 2 done; the next run would train 0" in capsys.readouterr().out
    assert main(["verify", str(study), "--trial", "layer_norm:0"]) == 0
    out = capsys.readouterr().out
    assert "2 records whole, 0 files damaged" in out
    assert ": the same" in out
    result = Study(study).results()[0]
    Study(study).save(replace(result, top1=1.0))
    assert main(["verify", str(study), "--trial", result.trial.id]) == 1
    assert ": ANOTHER" in capsys.readouterr().out
    (study / "trials" / f"{result.trial.id}.json").write_text("{}")
    assert main(["verify", str(study)]) == 1
    assert "1 records whole, 1 files damaged" in capsys.readouterr().out
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
    assert run(folder) == 0
    study = Study(folder)
    first, second = study.results()
    study.save(replace(first, origin=tuple({**dict(first.origin), "torch": "1.0"}.items())))
    capsys.readouterr()
    assert run(folder, "--keep-stale") == 0
    out = capsys.readouterr().out
    assert "1 records, kept: torch 1.0 there, " in out
    assert "warning: records of several origins stand side by side: torch 1.0, " in out
    (folder / "trials" / f"{second.trial.id}.json").write_text("{")
    assert main(["plot", str(folder)]) == 0
    assert f"damaged, left out: {folder}/trials/{second.trial.id}.json is no record" in capsys.readouterr().out
    assert run(folder) == 0
    out = capsys.readouterr().out
    assert "2 trials: 1 stale, 1 damaged" in out
    assert "1 records, trained again (--keep-stale keeps them): torch 1.0 there, " in out
    assert "is no record; kept as " in out
    assert "several origins" not in out
    assert [result.outcome for result in study.results()] == [first.outcome, second.outcome]
    assert len(list(study.aside.iterdir())) == 3  # one of them moved there by this test


def test_a_second_driver_is_sent_away_or_may_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "study"
    assert run(folder, "--rungs", "recipe") == 0
    capsys.readouterr()
    with Study(folder).lead():
        assert run(folder) == 2
        assert f"is being trained by process {os.getpid()} on" in capsys.readouterr().err
        with pytest.raises(SystemExit) as stop:
            run(folder, "--join")
        assert stop.value.code == 2
        assert "this run would add some" in capsys.readouterr().err
        assert run(folder, "--rungs", "recipe", "--join") == 0
        assert "wrote" not in capsys.readouterr().out


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


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(9 * ['*' + old])}]\n" for old, new in itertools.pairwise("abcdefghij")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: !!python/object/apply:os.mkdir [ran]\n", "could not determine a constructor"),
        ("!!python/object/apply:os.mkdir [ran]\n", "holds no options"),
        ("a: !!python/object/new:os.mkdir [ran]\n", "could not determine a constructor"),
        ("rungs: !!python/name:evil.Class\n", "could not determine a constructor"),
        ("rungs: !!python/module:evil\n", "could not determine a constructor"),
        ("trainer: {strategy: {class_path: evil.Class}}\n", "--trainer.strategy takes str"),
        ("trainer: {accelerator: {class_path: evil.Class}}\n", "--trainer.accelerator takes str"),
        (BOMB + "epochs: *j\n", "has aliases"),
        ("epochs: &a [*a]\n", "has aliases"),
        ("- epochs\n- 3\n", "holds no options"),
        ("epochs\n", "holds no options"),
        ("", "holds no options"),
        ("# nothing\n", "holds no options"),
        ("epochs: [1\n", "is no YAML"),
        ("\tepochs: 1\n", "is no YAML"),
        ("\0\1\2", "is no YAML"),
        (b"\x89PNG\r\n\x1a\n", "is no YAML"),
        ("epohcs: 3\n", "unknown option epohcs; did you mean epochs?"),
        ("trainer: {presicion: 16}\n", "unknown option trainer.presicion; did you mean trainer.precision?"),
        ("epochs: many\n", "--epochs takes int, got 'many'"),
        ("epochs: [1]\n", "--epochs takes int"),
        ("trainer: {precision: 17}\n", "--trainer.precision takes 64 or 32 or 16"),
        ("trainer: 17\n", "trainer takes options of its own, got 17"),
        ("lr: .inf\n", "lr must be above 0"),
        ("dry_run: maybe\n", "--dry-run takes true or false"),
        ("ladder: null\n", "unknown ladder None"),
        ("1: 2\n", "Key must be a string"),
    ],
)
def test_a_config_file_runs_no_code_and_fails_in_one_line(
    text: str | bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, here = tmp_path / "config.yaml", tmp_path / "here"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    here.mkdir()
    (tmp_path / "evil.py").write_text("import os\n\nos.mkdir('ran')\n\n\nclass Class: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(here)
    assert message in refuse(capsys, "run", "--config", str(file))


def test_no_config_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "File does not exist" in refuse(capsys, "run", "--config", "nowhere.yaml")
    assert "not a file" in refuse(capsys, "run", "--config", str(tmp_path))


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
