import errno
import os
from pathlib import Path

import pytest

from ablations.study.entries import list_entries, list_folders, make_room, put_aside, remove
from tests.oddities import ODDITIES, place


@pytest.mark.parametrize("kind", ODDITIES)
def test_whatever_lies_there_goes_aside_unread_and_unharmed(
    tmp_path: Path, kind: str, alarm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = set()
    for _ in range(3):
        place(tmp_path / "a.json", kind)
        before = os.lstat(tmp_path / "a.json").st_ino
        aside = put_aside(tmp_path / "a.json", tmp_path / "aside")
        names.add(aside)
        assert os.lstat(aside).st_ino == before
        assert not os.path.lexists(tmp_path / "a.json")
    assert len(names) == 3


def test_what_goes_aside_twice_is_there_once_and_else_beside(tmp_path: Path) -> None:
    file, aside = tmp_path / "a.json", tmp_path / "aside"
    for content in (b"1", b"1", b"2"):
        file.write_bytes(content)
        last = put_aside(file, aside)
    assert sorted(kept.read_bytes() for kept in aside.iterdir()) == [b"1", b"2"]
    last.write_bytes(b"another's, by the same name")
    file.write_bytes(b"2")
    assert put_aside(file, aside).read_bytes() == b"2"
    assert last.read_bytes() == b"another's, by the same name"


def test_room_is_made_where_no_file_can_be_written(tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    for name, make in {"file": Path.touch, "folder": Path.mkdir, "pipe": os.mkfifo}.items():
        make(tmp_path / name)
        make_room(tmp_path / name, aside)
    (tmp_path / "link").symlink_to("nowhere")
    make_room(tmp_path / "link", aside)
    make_room(tmp_path / "nothing", aside)
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "link", "aside"}
    assert {entry.name.partition("-")[0] for entry in aside.iterdir()} == {"folder", "pipe"}


@pytest.mark.parametrize("kind", ODDITIES)
def test_only_files_and_links_are_removed(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place(tmp_path / "x", kind)
    remove(tmp_path / "x")
    assert os.path.lexists(tmp_path / "x") == (kind in ("folder", "pipe", "socket"))
    remove(tmp_path / "x" / "nothing")


def test_entries_are_listed_by_whole_names(tmp_path: Path) -> None:
    names = ("ab.json", "ab.json~", ".ab.json", "xab.json", "ab.json\n", "AB.json")
    for name in names:
        (tmp_path / name).touch()
    assert list_entries(tmp_path, r"[a-b]+\.json") == [tmp_path / "ab.json"]
    assert list_entries(tmp_path / "nothing", ".*") == list_entries(tmp_path / "ab.json", ".*") == []
    (tmp_path / "0123456789abcdef").mkdir()
    (tmp_path / "0123456789abcdee").symlink_to("0123456789abcdef")
    (tmp_path / "0123456789abcded").touch()
    assert list_folders(tmp_path) == [tmp_path / "0123456789abcdef"]


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_lies_on_another_file_system_goes_aside(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, aside = tmp_path / "x", tmp_path / "aside"
    {"file": entry.touch, "folder": entry.mkdir, "link": lambda: entry.symlink_to("nowhere")}[kind]()

    def fail(self: Path, place: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "replace", fail)
    moved = put_aside(entry, aside)
    assert moved.parent == aside
    assert os.path.lexists(moved)
    assert not os.path.lexists(entry)
