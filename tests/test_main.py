import io
import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.cli.commands import WORDS
from ablations.report.readme import ROOT
from ablations.study.folder import StudyFolder
from ablations.study.predictions import Answers
from ablations.study.trial import Plan
from tests.conftest import SMALL, fake_result, run_small, start_driver, wait_until
from tests.oddities import ODDITIES, place


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
        assert "this run would add others" in capsys.readouterr().err
        assert run_small(folder, "--rungs", "recipe", "--join") == 0
        assert "wrote" not in capsys.readouterr().out


def try_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ask all that reads a study: each answers, or ends in a line."""
    for words in (["status"], ["verify"], ["report", "--partial"]):
        try:
            code: object = main([words[0], str(folder), *words[1:]])
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        assert code in (0, 1, 2), said
        assert code != 2 or len(said.err.splitlines()) == 1
        assert "Traceback" not in said.out + said.err


def keep_study(folder: Path, plan: Plan) -> StudyFolder:
    """A study of which all is kept but one trial's record, which failed."""
    study = StudyFolder(folder)
    study.begin(plan, "command")
    *done, failed = plan.trials()
    for trial in done:
        study.keep(trial, b"", Answers("d", "abc", ("cat",), (0,), (0,), (0.9,)))
        study.save(fake_result(trial))
    study.save_failure(failed, "it broke", "why")
    return study


CONTENTS = (
    b"[" * 200_000,
    b'{"caf\xe9": 1}',
    b"9" * 5000,
    b"",
    b"null",
    '{"a": 1}'.encode("utf-16"),
    b'{"digest": NaN}',
)
#: What a study reads; DONE and FAILED are trials' ids.
READ = (
    *("study.json", "commands.txt", "trials/DONE.json", "answers/DONE.json", "weights/DONE.pt", "failed/FAILED.txt"),
    *("running/driver", "running/FAILED", "running/FAILED/lock", "running/FAILED/x/x.ckpt", "trials/foo.json"),
    f"running/FAILED/0123456789abcdef/00001-{'0' * 64}.ckpt",
)


@pytest.fixture
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without charts, which take seconds, and without W&B."""

    def draw(folder: Path, *_: object) -> list[Path]:
        (folder / "accuracy.svg").write_text("<svg></svg>")
        return [folder / "accuracy.svg"]

    monkeypatch.setattr("ablations.report.publish.plot_study", draw)
    for name in ("send_result", "send_summary"):
        monkeypatch.setattr(f"ablations.report.publish.{name}", lambda *_: None)


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize("name", READ)
def test_whatever_lies_at_a_studys_files_each_word_ends(
    tmp_path: Path,
    plan: Plan,
    name: str,
    alarm: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    study = keep_study(tmp_path / "study", plan)
    done, *_, failed = plan.trials()
    file = study.folder / name.replace("DONE", done.id).replace("FAILED", failed.id)
    file.parent.mkdir(parents=True, exist_ok=True)
    for oddity in (*ODDITIES, *CONTENTS):
        file.unlink(missing_ok=True)
        file.write_bytes(oddity) if isinstance(oddity, bytes) else place(file, oddity)
        try_words(study.folder, capsys)
        if file.is_dir() and not file.is_symlink():
            file.rmdir()


@pytest.mark.parametrize(
    "name",
    [
        "/proc/nothere",
        "a" * 300,
        "a/" * 3000,
        "/etc/passwd",
        "/etc/passwd/x",
        "/",
        "/dev/null",
        "loop",
        "\udce9" * 99,
        "x\ny",
    ],
    ids=lambda name: repr(name[:15]),
)
def test_wherever_a_study_is_to_be_each_word_ends(
    tmp_path: Path, name: str, alarm: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    before = set(tmp_path.iterdir())
    try_words(Path(name), capsys)
    if name != "x\ny" and name[0] != "\udce9":  # which can be made
        for word in (["run", *SMALL], ["compare", "--models", "resnet18"]):
            with pytest.raises(SystemExit, match="2"):
                main([*word, "--study", name])
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith("error: ")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_what_a_terminal_cannot_show_is_shown_by_numbers(
    tmp_path: Path, plan: Plan, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = replace(plan.rungs[0], title="caf\udce9 \u2192 7\xd77")
    study = keep_study(tmp_path / "caf\udce9", replace(plan, rungs=(odd, *plan.rungs[1:])))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    for words in (["status"], ["verify"], ["report", "--partial"]):
        assert main([words[0], str(study.folder), *words[1:]]) == 0
    sys.stdout.flush()
    said = written.getvalue().decode(encoding)
    assert "caf\\udce9" in said
    assert ("7\\xd77" in said) == (encoding == "ascii")
    assert "caf" in (study.folder / "report.html").read_text("utf-8")


@pytest.mark.usefixtures("_undrawn")
def test_another_users_study_is_looked_at_and_trained_by_nobody_else(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As root may write everywhere, the system's refusal is played."""
    open_file, study = os.open, keep_study(tmp_path / "study", plan)

    def refuse(file: str, flags: int, mode: int = 0o777, **more: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and str(study.folder) in str(file):
            raise PermissionError(13, "Permission denied", str(file))
        return open_file(file, flags, mode, **more)

    with study.lead():
        monkeypatch.setattr(os, "open", refuse)
        assert main(["status", str(study.folder)]) == 0
        assert " 1 failed; " in capsys.readouterr().out
        assert main(["report", str(study.folder)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "cannot write" in line
        assert run_small(study.folder) == 2
        assert "is being trained by process" in capsys.readouterr().err
        monkeypatch.undo()


def test_a_folder_that_is_gone_is_a_line(tmp_path: Path) -> None:
    words = f"cd {tmp_path}; mkdir gone; cd gone; rmdir ../gone; exec {sys.executable} -m ablations cost"
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", words], env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == "error: the current folder was removed; change to another"


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.6])
def test_ctrl_c_amid_the_imports_leaves_no_traceback(seconds: float, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ablations", "cost"]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    assert "ablations" not in process.communicate(timeout=60)[1]


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_alone_it_shows_its_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(words)
    out = capsys.readouterr().out
    assert all(f"\n  {word} " in out for word in WORDS)


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
    assert said.count("the same command resumes the run") == 1
    assert "Traceback" not in said
    assert list((study / "trials").iterdir()) == []
