import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.cli.commands import WORDS
from ablations.report.readme import ROOT
from ablations.study.folder import StudyFolder
from tests.conftest import SMALL, run_small, start_driver, wait_until


def test_a_second_driver_is_sent_away_or_may_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "study"
    assert run_small(folder, "--rungs", "recipe") == 0
    capsys.readouterr()
    with StudyFolder(folder).lead():
        assert run_small(folder) == 2
        assert f"is being trained by process {os.getpid()} on" in capsys.readouterr().err
        with pytest.raises(SystemExit) as stop:
            run_small(folder, "--join")
        assert stop.value.code == 2
        assert "this run would add some" in capsys.readouterr().err
        assert run_small(folder, "--rungs", "recipe", "--join") == 0
        assert "wrote" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_alone_it_shows_its_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(words)
    out = capsys.readouterr().out
    assert all(f"\n    {word} " in out for word in WORDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"{project['name']} {project['version']}\n"
    assert project["scripts"] == {"ablations": "ablations.__main__:main"}


#: What takes seconds to load.
HEAVY = {
    *("torch", "torchvision", "lightning_fabric", "pytorch_lightning", "torchmetrics", "fvcore", "timm"),
    *("pandas", "matplotlib", "sklearn", "scipy", "wandb", "ray", "litdata"),
}
#: Tries command lines, and tells which of those were loaded, beside what convnext_path loads.
TRY = f"""
import sys
import convnext_path
before = set(sys.modules)
from ablations.__main__ import main
for command in sys.argv[1:]:
    try:
        main(command.split())
    except SystemExit:
        pass
print(sorted({HEAVY} & (set(sys.modules) - before)))
"""
WRONG = (
    *("run --ladder x", "run --rungs x", "run --epochs 0", "run --x", "run --flip x", "plan --profile x", "bench --x"),
    *("plot /nowhere", "cost --format x"),
)


def test_help_and_errors_of_options_load_nothing_that_takes_seconds(tmp_path: Path) -> None:
    commands = [
        "--help",
        "--version",
        *(f"{word} --help" for word in WORDS),
        *WRONG,
        "plot /nowhere",
        "cost --format x",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", TRY, *commands],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert len(done.stderr.splitlines()) == len(WRONG) + 2


@pytest.mark.torture
def test_killed_and_started_again_trains_only_what_was_missing(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    options = [*SMALL, "--seeds", "4", "--study", str(folder)]
    with start_driver(*options) as process:
        assert wait_until(lambda: len(list(folder.glob("trials/*.json"))) >= 2)
        process.kill()
    before = {file: file.read_bytes() for file in folder.glob("trials/*.json")}
    assert 2 <= len(before) < 8
    with start_driver(*options) as process:
        done, _ = process.communicate()
    assert f"8 trials: {len(before)} done, " in done
    assert f"1/{8 - len(before)}  " in done
    assert {file: file.read_bytes() for file in before} == before
    assert len(StudyFolder(folder).results()) == 8


@pytest.mark.torture
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_stop_a_training_and_save_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    study = tmp_path / "study"
    with start_driver("--rungs", "recipe", "--epochs", "500", "--wandb", "disabled", "--study", str(study)) as process:
        try:
            assert wait_until((study / "trials").exists)
            time.sleep(3)  # now it trains
            process.send_signal(number)
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    assert said.count("the same command goes on from here") == 1
    assert "Traceback" not in said
    assert list((study / "trials").iterdir()) == []
