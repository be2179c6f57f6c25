import os
import signal
import time
from pathlib import Path

import pytest

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
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
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
    assert ("the same command goes on from here" in said) == (code == 130)
    assert "Traceback" not in said
    assert list((study / "trials").iterdir()) == []
