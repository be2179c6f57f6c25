import multiprocessing as mp
import os
from pathlib import Path

from ablations.locks import hold, is_held

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
