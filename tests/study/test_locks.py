import multiprocessing as mp
import os
from pathlib import Path

import pytest

from ablations.study.locks import hold, is_held

SPAWN = mp.get_context("spawn")


def hold_and_tell(file: Path, told: "mp.connection.Connection") -> None:  # type: ignore[name-defined]
    with hold(file) as mine:
        told.send(mine)
        told.recv()


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    file, (mine, theirs) = tmp_path / "deep" / "lock", SPAWN.Pipe()
    process = SPAWN.Process(target=hold_and_tell, args=(file, theirs))
    process.start()
    assert mine.recv() is True
    with hold(file) as again:
        assert not again
    assert is_held(file)
    assert f"process {process.pid} on" in file.read_text()
    process.kill()
    process.join()
    assert file.exists()
    assert not is_held(file)
    with hold(file) as again:
        assert again
        assert f"process {os.getpid()} on" in file.read_text()
    assert not file.exists()


def test_a_folder_that_goes_between_two_steps_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where its last holder removes it just then."""
    file, make, made = tmp_path / "work" / "lock", Path.mkdir, []

    def mkdir(folder: Path, **options: bool) -> None:
        make(folder, **options)
        made.append(folder)
        if len(made) == 1:
            folder.rmdir()

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with hold(file) as mine:
        assert mine
    assert len(made) == 2
