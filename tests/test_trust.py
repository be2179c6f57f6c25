import os
from collections.abc import Callable
from pathlib import Path

import pytest

from convnext_path import trust
from convnext_path.trust import UntrustedError, find_stranger, make_private, private_folder


def give_away(place: Path) -> None:
    if os.geteuid():
        pytest.skip("root alone gives files away")
    os.chown(place, 12345, -1, follow_symlinks=False)


@pytest.fixture
def way(tmp_path: Path) -> Path:
    """A file some folders down, which is ours alone; a link of ours leads into the lowest of them."""
    file = tmp_path / "a" / "b" / "c" / "file"
    file.parent.mkdir(parents=True, mode=0o700)
    file.touch(0o600)
    (tmp_path / "link").symlink_to("a/b/c/../c")
    return file


@pytest.mark.parametrize("place", ["a", "a/b", "a/b/c", "a/b/c/file"])
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o770, 0o666])
def test_who_may_write_on_the_way_is_found(way: Path, place: str, mode: int, tmp_path: Path) -> None:
    assert find_stranger(way) == find_stranger(tmp_path / "link" / "file") == ""
    (tmp_path / place).chmod(mode | 0o100)
    wanted = f"others may write to {tmp_path / place}: chmod go-w {tmp_path / place}"
    assert find_stranger(way) == find_stranger(tmp_path / "link" / "file") == wanted


@pytest.mark.parametrize("place", ["a", "a/b", "a/b/c", "a/b/c/file", "link"])
def test_another_owner_on_the_way_is_found(way: Path, place: str, tmp_path: Path) -> None:
    give_away(tmp_path / place)
    assert f"{tmp_path / place} belongs to user 12345: set XDG_CACHE_HOME" in find_stranger(tmp_path / "link" / "file")
    assert bool(find_stranger(way)) == (place != "link")


@pytest.mark.parametrize(("place", "is_safe"), [("a", True), ("a/b", True), ("a/b/c", False)])
def test_what_is_sticky_may_hold_folders_of_ours(way: Path, place: str, is_safe: bool, tmp_path: Path) -> None:
    """In it others exchange nothing of ours, but they may put there what is missing."""
    (tmp_path / place).chmod(0o1777)
    assert (find_stranger(way) == "") == is_safe
    assert (find_stranger(tmp_path / "link" / "file") == "") == is_safe


def test_what_is_missing_is_as_safe_as_what_is_above(way: Path, tmp_path: Path) -> None:
    assert find_stranger(tmp_path / "a" / "x" / "y" / "z") == ""
    (tmp_path / "a").chmod(0o777)
    assert find_stranger(tmp_path / "a" / "x" / "y" / "z") != ""


def test_a_relative_way_begins_where_we_are(way: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(way.parent)
    assert find_stranger(Path("file")) == find_stranger(Path("../c/./file")) == ""
    way.parent.parent.chmod(0o777)
    assert find_stranger(Path("file")) == f"others may write to {way.parents[1]}: chmod go-w {way.parents[1]}"


def test_links_that_go_round_are_no_way(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError, match="round"):
        find_stranger(tmp_path / "round" / "file")


def test_in_a_container_without_root_its_folders_are_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_root, is_safe in ((True, False), (False, True)):
        monkeypatch.setattr(trust, "has_root", lambda has_root=has_root: has_root)
        assert trust.is_hidden_root(Path("/tmp"), trust.NOBODY) == is_safe
        assert trust.is_hidden_root(Path("/"), trust.NOBODY) == is_safe
        assert not trust.is_hidden_root(Path("/tmp/x"), trust.NOBODY)
        assert not trust.is_hidden_root(Path("/tmp"), 12345)


def test_new_folders_are_ours_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private(tmp_path / "x" / "y")
    finally:
        os.umask(before)
    assert [place.stat().st_mode & 0o777 for place in (tmp_path / "x", tmp_path / "x" / "y")] == [0o700] * 2


@pytest.mark.parametrize("spoil", [lambda place: place.chmod(0o777), lambda place: place.chmod(0o770), give_away])
def test_a_temporary_folder_that_others_may_exchange_is_refused(
    spoil: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with private_folder() as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    spoil(tmp_path)
    with pytest.raises(UntrustedError, match=str(tmp_path)), private_folder():
        pass
    tmp_path.chmod(0o700)
    assert not list(tmp_path.iterdir())
