import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from convnext_path.files import cache_file, recall, remember, remove_drafts, write_whole


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


def test_the_cache_lies_where_the_system_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_file("x.json") == tmp_path / "convnext-path" / "x.json"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_file("x.json") == tmp_path / ".cache" / "convnext-path" / "x.json"


def test_what_is_remembered_is_recalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert recall("x") is None
    remember("x", {"a": [1, None]})
    assert recall("x") == {"a": [1, None]}
    cache_file("x.json").write_text('{"a')
    assert recall("x") is None
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    remember("x", 1)
    assert recall("x") is None


@pytest.mark.parametrize("spoil", [lambda p: p.chmod(0o777), lambda p: p.chmod(0o770), lambda p: p.chmod(0o1777)])
@pytest.mark.parametrize("level", [0, 1])
def test_what_others_may_have_written_is_not_recalled(
    spoil: Callable[[Path], None], level: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remember("x", 1)
    spoiled = cache_file("x.json").parents[level]
    spoil(spoiled)
    is_shelf = level == 1 and bool(spoiled.stat().st_mode & 0o1000)
    assert recall("x") == (1 if is_shelf else None)
    remember("x", 2)
    spoiled.chmod(0o700)
    assert recall("x") == (2 if is_shelf else 1)  # nothing was written either
    cache_file("x.json").chmod(0o666)
    assert recall("x") is None
    remember("x", 3)
    assert recall("x") == 3


def test_a_relative_cache_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/cache")
    assert cache_file("x") == tmp_path / ".cache" / "convnext-path" / "x"


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda p: p.symlink_to("/dev/zero"), lambda p: p.symlink_to(p)]
)
def test_what_is_no_file_is_not_recalled(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache_file("x").parent.mkdir(0o700)
    make(cache_file("x.json"))
    assert recall("x") is None
