"""What is not the study's stays where it is, whatever the study does, and a folder that holds it is not empty."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.study.folder import StudyFolder
from ablations.study.origin import Origin
from ablations.study.predictions import Answers
from ablations.study.trial import Plan, Trial
from convnext_path.files import digest
from tests.conftest import fake_result

#: What git, DVC, git-annex, notebooks, editors, file systems and people leave beside files.
NAMES = (
    *(
        ".gitignore",
        ".gitattributes",
        ".env",
        ".dvc",
        ".dvcignore",
        "study.json.dvc",
        ".bashrc",
        ".DS_Store",
        ".nfs0001",
    ),
    *("foo.json", "foo.json~", "foo.pt", "#x#", ".#x", ".study.json.swp", ".study.json.kate-swp", "notes", "x.ckpt"),
    *(
        ".study.json.1.bak",
        ".study.json.20261130",
        ".thesis.tex.123",
        ".thesis.tex.123.draft",
        "0123456789abcdef.txt~",
        "lock.bak",
    ),
    *(
        "0123456789abcdeX.json",
        "0123456789abcdef0.json",
        "00001-x.ckpt",
        "record with spaces.json",
        "é.json",
        "\udce9.json",
    ),
)
FOLDERS = (".git", ".ipynb_checkpoints", "drafts", ".study.json.7.draft", "origin-of-mine")


def fill(folder: Path) -> Iterator[Path]:
    """Let others' files, folders, links and pipes lie in a folder; all that is there now."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (folder / name).write_text("precious")
        yield folder / name
    for name in FOLDERS:
        (folder / name).mkdir()
        (folder / name / "x.ckpt").write_text("precious")
        yield folder / name / "x.ckpt"
    (folder / ".annexed").symlink_to(".git/x.ckpt")
    (folder / ".dangling").symlink_to("nowhere")
    os.mkfifo(folder / ".pipe")
    yield from (folder / name for name in (".annexed", ".dangling", ".pipe"))


def work(study: StudyFolder, plan: Plan, trial: Trial) -> None:
    """All that a run does: twice, and with a failure."""
    for origin in (Origin((("torch", "1"),)), Origin((("torch", "2"),))):
        study.merge(plan)
        with study.lead():
            study.begin(plan, "command")
            study.migrate()
            with study.claim(trial, origin) as place:
                assert place
                place.mkdir(exist_ok=True)
                (place / f"00001-{digest(b'')}.ckpt").touch()
            with study.claim(trial, origin):
                study.save_failure(trial, "it broke", "why")
                study.keep(trial, b"weights", Answers("d", "abc", ("cat",), (0,), (0,), (0.9,)))
                study.save(fake_result(trial, 80.0))
            study.save(fake_result(trial, 90.0))
            study.amend(fake_result(trial, 90.0))


def test_what_is_not_ours_is_neither_removed_nor_read(tmp_path: Path, plan: Plan, trial: Trial, alarm: None) -> None:
    study = StudyFolder(tmp_path / "study")
    study.begin(plan)
    places = ("", "trials", "weights", "answers", "failed", "running", f"running/{trial.id}", "aside")
    origin = f"running/{trial.id}/0123456789abcdef"
    theirs = [file for place in (*places, origin) for file in fill(study.folder / place)]
    before = {file: os.lstat(file) for file in theirs}
    work(study, plan, trial)
    assert {file: os.lstat(file).st_ino for file in theirs} == {file: stat.st_ino for file, stat in before.items()}
    assert {file: os.lstat(file).st_mtime_ns for file in theirs} == {f: stat.st_mtime_ns for f, stat in before.items()}
    assert study.faults() == study.find_changed() == {}
    assert [result.top1 for result in study.results()] == [90.0]
    assert study.checkpoints() == []
    assert study.merge(plan) == plan


@pytest.mark.parametrize("name", [*NAMES, "study.json/x", "trials/x", "running/x", "running/driver/x", *FOLDERS])
def test_a_folder_that_holds_anything_else_is_not_empty(tmp_path: Path, plan: Plan, name: str) -> None:
    file = tmp_path / name
    file.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"contains no study; choose another --study \(found there|cannot be read"):
        StudyFolder(tmp_path).merge(plan)
    assert file.is_dir()


@pytest.mark.parametrize("begun", [(), (".study.json.123.draft", "running/driver"), ("trials/",)])
def test_a_folder_in_which_a_study_was_about_to_begin_is_empty(tmp_path: Path, plan: Plan, begun: tuple[str]) -> None:
    for name in begun:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    assert StudyFolder(tmp_path).merge(plan) == plan


def test_an_empty_folder_of_ones_own_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("mine", "new"):
        with StudyFolder(tmp_path / name).lead():
            pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("place", ["trials", "weights", "answers", "failed", "running", "aside"])
@pytest.mark.parametrize("make", [Path.touch, os.mkfifo, lambda file: file.symlink_to("nowhere")])
def test_a_study_that_could_not_be_written_to_is_refused(tmp_path: Path, plan: Plan, place: str, make) -> None:  # type: ignore[no-untyped-def]
    study = StudyFolder(tmp_path)
    study.begin(plan)
    if place == "trials":
        study.trials.rmdir()
    make(tmp_path / place)
    with pytest.raises(ValueError, match=f"{place} is not a folder; move it away"):
        study.merge(plan)


def test_links_to_files_are_read_and_replaced(tmp_path: Path, plan: Plan, trial: Trial) -> None:
    """As git-annex and DVC keep data."""
    study, annex = StudyFolder(tmp_path / "study"), tmp_path / "annex"
    annex.mkdir()
    study.begin(plan, "command")
    study.save(fake_result(trial, 80.0))
    for number, file in enumerate((study.plan_file, study.commands_file, study.record_file(trial))):
        file.rename(annex / str(number))
        file.symlink_to(annex / str(number))
    kept = {file: file.read_bytes() for file in annex.iterdir()}
    assert [result.top1 for result in study.results()] == [80.0]
    assert study.commands() == ["command"]
    study.begin(replace(plan, seeds=(0,)), "another")
    study.save(fake_result(trial, 90.0))
    assert [result.top1 for result in study.results()] == [90.0]
    assert study.commands() == ["command", "another"]
    assert {file: file.read_bytes() for file in annex.iterdir()} == kept
    assert not study.record_file(trial).is_symlink()


@pytest.mark.parametrize("name", ["a\0b", "\0"])
def test_what_no_folder_can_be_called(name: str) -> None:
    with pytest.raises(ValueError, match="a study takes the name of a folder, got"):
        StudyFolder(name)


STRANGERS = {
    "running/0123456789abcdef": lambda file: file.write_text(""),
    "running/0123456789abcdef/lock": lambda file: file.write_text("notes"),
    "running/0123456789abcde0/lock": lambda file: file.mkdir(),
    "running/0123456789abcde1/lock": os.mkfifo,
    "running/0123456789abcde2": lambda file: file.symlink_to("/nowhere"),
}


@pytest.mark.parametrize("place", STRANGERS)
def test_what_lies_where_trials_are_held_is_found_beforehand(tmp_path: Path, plan: Plan, place: str) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    STRANGERS[place](tmp_path / place)
    with pytest.raises(ValueError, match=f"{place} is not part of the study"):
        study.merge(plan)
    assert os.path.lexists(tmp_path / place)


def test_a_note_where_the_drivers_lock_is_to_be_is_no_beginning(tmp_path: Path, plan: Plan) -> None:
    (tmp_path / "running").mkdir()
    (tmp_path / "running" / "driver").write_text("my notes")
    with pytest.raises(ValueError, match="exists and contains no study"):
        StudyFolder(tmp_path).merge(plan)


@pytest.mark.parametrize("place", ["file", "file/x", "file/x/y", "lost/x"])
def test_a_study_that_could_not_be_made_is_refused_beforehand(place: str, tmp_path: Path, plan: Plan) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "lost").symlink_to("nowhere")
    with pytest.raises(ValueError, match="(file|lost) is not a folder; choose another --study$"):
        StudyFolder(tmp_path / place).merge(plan)
    assert StudyFolder(tmp_path / "new" / "er").merge(plan) == plan
