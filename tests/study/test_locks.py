import errno
import multiprocessing as mp
import os
from pathlib import Path

import pytest

from ablations.study.locks import DRIVER, describe_driver, hold, is_held, is_lock
from tests.oddities import place

OPEN = os.open
SPAWN = mp.get_context("spawn")


def hold_and_tell(file: Path, told: "mp.connection.Connection") -> None:  # type: ignore[name-defined]
    with hold(file) as mine:
        told.send(mine is not None)
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


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "link to nothing", "link to itself", "endless device"])
def test_what_is_no_lock_is_told_at_once_and_left_alone(
    tmp_path: Path, kind: str, alarm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place(tmp_path / "lock", kind)
    before = os.lstat(tmp_path / "lock").st_ino
    with pytest.raises(OSError, match="lock"), hold(tmp_path / "lock"):
        pass
    with pytest.raises(OSError, match="lock"):
        is_held(tmp_path / "lock")
    assert os.lstat(tmp_path / "lock").st_ino == before


@pytest.mark.parametrize("folder", ["/proc/nothere", "/proc/nothere/study", "/etc/passwd/study", "/dev/null/study"])
def test_where_no_lock_can_be_that_is_told_and_not_tried_for_ever(folder: str, alarm: None) -> None:
    with pytest.raises(OSError, match="[Nn]o"), hold(Path(folder, "running", "driver")):
        pass
    assert not is_held(Path(folder, "running", "driver"))


def test_a_name_that_is_too_long(alarm: None, tmp_path: Path) -> None:
    for ask in (is_held, lambda file: hold(file).__enter__()):
        with pytest.raises(OSError, match="File name too long"):
            ask(tmp_path / ("a" * 300) / "lock")


def refuse_writing(file: str, flags: int, mode: int = 0o777, **more: int) -> int:
    """As the system does with another user's file."""
    if flags & (os.O_WRONLY | os.O_RDWR):
        raise PermissionError(errno.EACCES, "Permission denied", str(file))
    return OPEN(file, flags, mode, **more)


def test_another_users_lock_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "study" / DRIVER
    with hold(file):
        monkeypatch.setattr(os, "open", refuse_writing)
        assert is_held(file)
        with hold(file) as mine:
            assert not mine
        assert f"is being trained by process {os.getpid()} on" in describe_driver(tmp_path / "study")
        monkeypatch.undo()
    file.touch()  # as a kill leaves it
    monkeypatch.setattr(os, "open", refuse_writing)
    assert not is_held(file)
    with pytest.raises(PermissionError), hold(file):
        pass


@pytest.mark.parametrize("said", [b"", b" \n", b"x" * 10_000, None])
def test_a_lock_that_does_not_say_whose_it_is(tmp_path: Path, said: bytes | None) -> None:
    (tmp_path / "running").mkdir()
    if said is not None:
        (tmp_path / DRIVER).write_bytes(said)
    assert describe_driver(tmp_path) == f"{tmp_path} is being trained by another process; wait, or help with --join"


def test_what_a_lock_says_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "running").mkdir()
    (tmp_path / DRIVER).write_bytes(b"process 1\non caf\xe9")
    assert "by process 1 on caf\ufffd; wait" in describe_driver(tmp_path)


def test_a_lock_whose_folder_was_moved_takes_no_other_with_it(tmp_path: Path) -> None:
    file = tmp_path / "study" / "lock"
    with hold(file) as first:
        assert first
        assert first.is_there()
        file.parent.rename(tmp_path / "moved")
        assert not first.is_there()
        with hold(file) as second:
            assert second
            assert not first.is_there()
            assert second.is_there()
    with hold(file) as third:
        assert third


@pytest.mark.parametrize("content", [b"my notes", b"x" * 2000, b"\xff", b"\nprocess 1"])
def test_what_is_no_lock_is_not_taken_for_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    assert not is_lock(tmp_path / "lock")
    with pytest.raises(OSError, match="another file stands in the place of the lock"), hold(tmp_path / "lock"):
        pass
    assert (tmp_path / "lock").read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"process 12 on h", b"process 1 on host since 2026-01-01 10:00:00"])
def test_what_a_dead_process_left_is_taken(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    with hold(tmp_path / "lock") as lock:
        assert lock
