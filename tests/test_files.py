import multiprocessing as mp
import os
import resource
import signal
from pathlib import Path

import pytest

from ablations.files import hold, is_held, remove_drafts, write_whole

SPAWN = mp.get_context("spawn")


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    write_whole(file, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as a disk that is full
    try:
        with pytest.raises(OSError, match="cannot write .*record.json: File too large"):
            write_whole(file, b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_drafts_are_removed_by_name(tmp_path: Path) -> None:
    for name in (".a.json.1", ".a.json.2", ".b.json.1", "a.json"):
        (tmp_path / name).touch()
    remove_drafts(tmp_path, "a.json")
    assert sorted(file.name for file in tmp_path.iterdir()) == [".b.json.1", "a.json"]
    remove_drafts(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


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
