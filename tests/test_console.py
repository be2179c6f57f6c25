"""Lines that people read, and the log that keeps them."""

import errno
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations import console
from ablations.console import BOUND, Log, make_printable, open_log, say
from ablations.engines.scheduler import Local
from tests.conftest import run_small
from tests.engines.test_local import throw

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  "


def read(file: Path) -> list[str]:
    """A log's lines, each of which has its time."""
    lines = file.read_text(encoding="utf-8").splitlines()
    assert all(re.match(STAMP, line) for line in lines if line)
    return [re.sub(f"^{STAMP}", "", line) for line in lines]


def test_what_is_said_is_kept_from_the_start_and_run_after_run(tmp_path: Path) -> None:
    file = tmp_path / "study.log"
    say("before")
    for run in (1, 2):
        with open_log() as log:
            say(f"plan {run}")
            log.keep(file, f"command {run}")
            say(f"trial {run}")
    say("after")
    assert read(file) == ["command 1", "plan 1", "trial 1", "", "command 2", "plan 2", "trial 2"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyboardInterrupt("SIGTERM"), "SIGTERM"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (SystemExit(2), "2"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_an_early_end_is_kept(error: BaseException, words: str, tmp_path: Path) -> None:
    def run() -> None:
        with open_log() as log:
            log.keep(tmp_path / "log", "command")
            raise error

    with pytest.raises(type(error)):
        run()
    assert read(tmp_path / "log") == ["command", f"ended early: {words}"]
    assert console.LOGS == []


def make_link(file: Path) -> None:
    file.symlink_to(file.with_name("other"))
    file.with_name("other").write_text("of others\n")


PLACES: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "link": make_link,
    "dangling link": lambda file: file.symlink_to("nowhere"),
    "link to itself": lambda file: file.symlink_to(file.name),
    "link to a device": lambda file: file.symlink_to("/dev/full"),
    "no such folder": lambda file: file.parent.rmdir(),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_log_fails_no_run(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "study" / "study.log"
    file.parent.mkdir()
    PLACES[place](file)
    with open_log() as log:
        log.keep(file, "command")
        say("goes on")
    assert log.file is None
    assert capsys.readouterr().out == "goes on\n"
    assert not file.with_name("other").exists() or file.with_name("other").read_text() == "of others\n"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE])
def test_a_disk_that_takes_nothing_for_a_while(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with open_log() as log:
        log.keep(tmp_path / "log", "command")
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fail)
            log.add("lost")
        log.add("kept")
    assert read(tmp_path / "log") == ["command", "kept"]


def test_a_file_that_is_removed_meanwhile_begins_anew(tmp_path: Path) -> None:
    log = Log()
    log.keep(tmp_path / "log", "command")
    (tmp_path / "log").unlink()
    log.add("line")
    assert read(tmp_path / "log") == ["line"]


def test_a_long_log_keeps_its_last_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "BOUND", 1000)
    file = tmp_path / "log"
    for run in range(50):
        Log().keep(file, f"command {run}")
        assert file.stat().st_size < 1000 + 100
    assert read(file)[-3:] == ["command 48", "", "command 49"]
    assert len(list(tmp_path.iterdir())) == 1


@given(st.text() | st.binary().map(os.fsdecode))
def test_any_line_is_one_line_of_plain_text(line: str) -> None:
    made = make_printable(line)
    assert made.isprintable()
    assert made.encode().decode().splitlines() == [made] * bool(made)
    assert made == line or not line.isprintable()


@pytest.mark.parametrize(
    ("line", "made"),
    [
        ("Größe 3 × 4", "Größe 3 × 4"),
        ("a\nb", r"a\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        (os.fsdecode(b"caf\xe9"), r"caf\udce9"),
        ("a\u2028b", r"a\u2028b"),
        ("\u202eabc", r"\u202eabc"),
    ],
)
def test_what_is_no_character_to_print(line: str, made: str) -> None:
    assert make_printable(line) == made


def test_a_study_keeps_what_its_runs_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "study"
    monkeypatch.setattr("ablations.driver.estimate_seconds", lambda *_: 1.0)
    monkeypatch.setattr("ablations.driver.draw", lambda *_: say("wrote it"))
    monkeypatch.setattr("ablations.engines.choose.Local", partial(Local, work=throw))
    assert run_small(folder) == 1
    said = [re.sub(f"^{STAMP}", "", line) for line in capsys.readouterr().out.splitlines()]
    first = read(folder / "study.log")
    assert first[0].startswith(f"process {os.getpid()} on ")
    assert first[0].endswith(f"--study {folder}")
    assert first[1:] == said
    assert any(line.startswith("2/2  layer_norm, seed 0: failed: MemoryError") for line in said)
    assert any(line.startswith("no result: ") for line in said)
    assert run_small(folder, "--dry-run") == 0
    assert read(folder / "study.log") == first
    assert run_small(folder) == 1
    again = read(folder / "study.log")
    assert again[: len(first)] == first
    assert again[len(first) + 2].endswith("2 trials: 2 failed")


def test_a_log_of_any_size_is_shortened_at_once(tmp_path: Path) -> None:
    file = tmp_path / "study.log"
    file.write_text("the first line\n")
    os.truncate(file, 2**40)  # a hole
    with open_log() as log:
        log.keep(file, "title")
        say("a line")
    assert file.stat().st_size < BOUND
    assert [line[21:] for line in file.read_text(errors="replace").splitlines()[-2:]] == ["title", "a line"]


def test_a_copy_of_links_has_a_log_of_its_own(tmp_path: Path) -> None:
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    first.write_text("before\n")
    second.hardlink_to(first)
    with open_log() as log:
        log.keep(second, "title")
    assert first.read_text() == "before\n"
    assert second.read_text().startswith("before\n")
    assert "title" in second.read_text()
