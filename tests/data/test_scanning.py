import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image

from convnext_path import Data
from convnext_path.data import decoding, folders, scanning
from convnext_path.data.datasets import Splits, open_data
from convnext_path.data.folders import ImageFileError, ImagesChangedError, open_folders
from convnext_path.data.selection import CHECKS, Check
from convnext_path.words import show_name
from tests.oddities import ENDLESS

Maker = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path, make_images: Maker) -> Path:
    """Two classes with five images each in train/ and val/."""
    make_images(tmp_path / "images" / "train")
    make_images(tmp_path / "images" / "val")
    return tmp_path / "images"


def open_tree(tree: Path, check: Check | None = None, size: int | None = 32) -> Splits:
    open_data.cache_clear()
    return open_data(Data("imagefolder", root=str(tree), check_images=check, image_size=size))


def rewrite(file: Path) -> None:
    """Another image of the same name."""
    Image.new("RGB", (40, 36), "red").save(file)


def edit(file: Path) -> None:
    """Other content of the same size and time of change, in the same file."""
    before, content = file.stat(), bytearray(file.read_bytes())
    content[-20] ^= 1
    with file.open("r+b") as stream:
        stream.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(file: Path) -> None:
    """Another file of the same size and time of change in its place."""
    before, content = file.stat(), bytearray(file.read_bytes())
    content[-20] ^= 1
    other = file.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def remove(file: Path) -> None:
    file.unlink()


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def link(file: Path) -> None:
    file.unlink()
    file.symlink_to("1.png")


@pytest.mark.parametrize("change", [rewrite, swap, empty, remove, pipe, folder, link])
@pytest.mark.parametrize("check", CHECKS)
def test_a_file_that_changes_is_named(tree: Path, check: Check, change: Callable[[Path], None]) -> None:
    images = open_tree(tree, check).val
    change(tree / "val" / "cat" / "0.png")
    with pytest.raises(ImagesChangedError, match=r"^\S+/val/cat/0.png (has changed since|was there when)"):
        images[0]
    assert images[1].shape == (3, 40, 36)


def test_an_edit_that_keeps_size_and_time_is_named_where_contents_are_known(tree: Path) -> None:
    images = open_tree(tree, "full").val
    edit(tree / "val" / "cat" / "0.png")
    with pytest.raises(ImagesChangedError, match=r"val/cat/0.png has changed since the images were checked$"):
        images[0]


@pytest.mark.parametrize("check", CHECKS)
def test_rights_and_links_may_change(tree: Path, check: Check) -> None:
    images = open_tree(tree, check).val
    (tree / "val" / "cat" / "0.png").chmod(0o600)
    os.link(tree / "val" / "cat" / "1.png", tree / "val" / "cat" / "copy")
    (tree / "val").rename(tree / "other")
    shutil.copytree(tree / "other", tree / "val", copy_function=os.link)
    assert all(images[i].shape == (3, 40, 36) for i in range(10))


def test_the_same_content_written_again_is_the_same_image(tree: Path) -> None:
    images, file = open_tree(tree, "full").val, tree / "val" / "cat" / "0.png"
    copy = shutil.copy(file, file.with_name("copy"))
    os.replace(copy, file)
    assert images[0].shape == (3, 40, 36)


def test_an_image_that_is_kept_is_what_was_checked(tree: Path) -> None:
    images = open_tree(tree).val
    before = images[0]
    rewrite(tree / "val" / "cat" / "0.png")
    assert images[0] is before


def test_a_file_that_changes_while_it_is_scanned_is_bad(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to_rgb = decoding.to_rgb

    def change(image: Image.Image, bits: int) -> Image.Image:
        with (tree / "val" / "cat" / "0.png").open("ab") as file:
            file.write(b"more")
        return to_rgb(image, bits)

    monkeypatch.setattr(decoding, "to_rgb", change)
    with pytest.raises(ValueError, match=r"val/cat/0.png \(it changed while it was read\)"):
        open_tree(tree)


def test_a_file_that_changes_before_it_is_scanned_is_remembered_as_it_is(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan is known by the stamps of the files that were read, and not by those of the listing before it."""
    file, stack = tree / "val" / "cat" / "0.png", scanning.look_at_all

    def change(paths: list[Path], check: Check) -> list[scanning.Look]:
        if file in paths:
            rewrite(file)
        return stack(paths, check)

    original = file.read_bytes()
    time = file.stat().st_mtime_ns
    monkeypatch.setattr(scanning, "look_at_all", change)
    changed = open_tree(tree).digest
    monkeypatch.undo()
    assert open_tree(tree).digest == changed
    file.write_bytes(original)
    os.utime(file, ns=(time, time))
    assert open_tree(tree).digest != changed


@pytest.mark.parametrize("check", ["headers", "none"])
def test_what_is_not_known_is_said(tree: Path, check: Check) -> None:
    splits = open_tree(tree, check)
    assert splits.digest.startswith(f"{check}:")
    assert "(--check-images full decodes all)" in splits.notes[0]
    assert open_tree(tree, "full").digest not in splits.digest
    assert not open_tree(tree, "full").notes


def test_headers_give_the_size_that_pixels_give(tree: Path) -> None:
    assert open_tree(tree, "headers", None).image_size == open_tree(tree, "full", None).image_size == 32
    with pytest.raises(ValueError, match="check_images none does not read image sizes; it needs an image_size"):
        open_tree(tree, "none", None)


def test_headers_find_what_is_no_image_and_leave_what_is_cut(tree: Path) -> None:
    file = tree / "val" / "cat" / "0.png"
    file.write_bytes(file.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"0.png \(.*truncated.*\)$"):
        open_tree(tree, "full")
    with pytest.raises(ImageFileError, match=r"^\S+/val/cat/0.png is a bad image: .*truncated"):
        open_tree(tree, "headers").val[0]
    file.write_bytes(b"no image at all")
    with pytest.raises(ValueError, match=r"0.png \(no image\)$"):
        open_tree(tree, "headers")
    with pytest.raises(ImageFileError, match=r"^\S+/val/cat/0.png is a bad image: no image$"):
        open_tree(tree, "none").val[0]


@pytest.mark.parametrize("check", ["headers", "none"])
def test_a_copy_that_keeps_times_has_the_digest_of_what_it_is_a_copy_of(tree: Path, check: Check) -> None:
    before = open_tree(tree, check).digest
    copy = shutil.copytree(tree, tree.with_name("copy"))
    assert open_tree(copy, check).digest == before
    os.utime(copy / "val" / "cat" / "0.png", (1, 1))
    assert open_tree(copy, check).digest != before


@pytest.mark.parametrize("check", CHECKS)
def test_checks_are_kept_apart_in_the_cache(tree: Path, check: Check) -> None:
    first = open_tree(tree, check)
    for other in CHECKS:
        open_tree(tree, other)
    assert open_tree(tree, check).digest == first.digest


def test_large_folders_are_checked_by_headers(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ":" not in open_tree(tree).digest
    size = sum(file.stat().st_size for file in tree.rglob("*.png"))
    monkeypatch.setattr(scanning, "FULL_BYTES", size)
    monkeypatch.setattr(scanning, "FULL_FILES", 20)
    assert ":" not in open_tree(tree).digest
    monkeypatch.setattr(scanning, "FULL_BYTES", size - 1)
    assert open_tree(tree).digest.startswith("headers:")
    monkeypatch.setattr(scanning, "FULL_BYTES", size)
    monkeypatch.setattr(scanning, "FULL_FILES", 19)
    assert open_tree(tree).digest.startswith("headers:")
    assert ":" not in open_tree(tree, "full").digest


def test_a_scan_tells_how_far_it_is(tree: Path) -> None:
    heard: list[tuple[int, int]] = []
    with scanning.reported(lambda *numbers: heard.append(numbers)):
        open_tree(tree)
        open_tree(tree)
    assert heard == [(10, 10), (10, 10)]  # of either split, and once


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\xfe", b"a\nb", b"a\x1b[31mb", "é".encode()])
def test_names_of_any_bytes(tree: Path, name: bytes) -> None:
    (tree / "train" / "cat").rename(tree / "train" / os.fsdecode(name))
    (tree / "val" / "cat").rename(tree / "val" / os.fsdecode(name))
    first = open_tree(tree)
    assert os.fsdecode(name) in first.classes
    assert open_tree(tree).digest == first.digest
    empty(tree / "val" / os.fsdecode(name) / "0.png")
    with pytest.raises(ImagesChangedError) as caught:
        first.val[[*first.val.labels].index(first.classes.index(os.fsdecode(name)))]
    assert show_name(caught.value) == str(caught.value)


def test_a_worker_tells_the_line_alone() -> None:
    for kind in (ImageFileError, ImagesChangedError):
        told = f"Caught {kind.__name__} in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        again = kind(f"{told}  File x, line 1, in y\nconvnext_path.data.folders.{kind.__name__}: a/b.png has changed\n")
        assert str(again) == "a/b.png has changed"
        assert str(kind("a/b.png has changed")) == "a/b.png has changed"


def test_a_range_is_of_both_splits(tree: Path) -> None:
    for split, value in (("train", 900), ("val", 4000)):
        Image.new("I;16", (40, 36), value).save(tree / split / "cat" / "0.png")
    found = open_folders(tree, False, "full")
    assert [images.scan.bits for images in found.images] == [10, 12]
    assert [images.bits for images in found.images] == [12, 12]
    assert [int(images[0].max()) for images in found.images] == [round(900 / 4095 * 255), round(4000 / 4095 * 255)]
    assert found.notes == ("16-bit images use 12 bits: 0 to 4095 becomes 0 to 255",)


def test_files_of_several_pictures_are_counted(tree: Path) -> None:
    frames = [Image.new("RGB", (40, 36), color) for color in ("red", "blue")]
    frames[0].save(tree / "val" / "cat" / "5.gif", save_all=True, append_images=frames[1:])
    assert open_tree(tree).notes == ("files with several pictures, of which the first is used: 1",)
    assert folders.note_scans([scanning.Scan("", 1, ())]) == []


PASSING = {
    MemoryError(): "not enough memory",
    OSError(errno.EMFILE, os.strerror(errno.EMFILE)): "Too many open files",
    OSError(errno.ENFILE, os.strerror(errno.ENFILE)): "Too many open files in system",
    OSError(errno.EIO, os.strerror(errno.EIO)): "Input/output error",
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)): "Cannot allocate memory",
    OSError(errno.ESTALE, os.strerror(errno.ESTALE)): "Stale file handle",
}


@pytest.mark.parametrize("error", PASSING, ids=PASSING.values())
@pytest.mark.parametrize("place", ["scanning.open_regular", "decoding.open_image"])
@pytest.mark.parametrize("check", ["full", "headers"])
def test_what_passes_makes_no_image_bad(
    tree: Path, check: Check, place: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as now:
        now.setattr(f"convnext_path.data.{place}", Mock(side_effect=error))
        with pytest.raises(OSError, match=r"train/cat/0.png cannot be read: ") as caught:
            open_data(Data("imagefolder", root=str(tree), check_images=check, skip_bad_images=True))
    assert str(caught.value.strerror).endswith(PASSING[error])
    images = open_tree(tree, check).val
    with monkeypatch.context() as now:
        now.setattr(f"convnext_path.data.{place.replace('scanning', 'folders')}", Mock(side_effect=error))
        with pytest.raises(ImageFileError, match=rf"val/cat/0.png cannot be read: {PASSING[error]}$"):
            images[0]
    assert images[0].shape == (3, 40, 36)


@pytest.mark.parametrize("check", CHECKS)
def test_what_passes_is_no_stamp(tree: Path, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError(errno.EIO, "Input/output error", "0.png")
    monkeypatch.setattr(scanning, "make_stamp", Mock(side_effect=error))
    with pytest.raises(OSError, match="Input/output error"):
        open_tree(tree, check)


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("check", ["full", "headers"])
def test_files_of_the_system_are_bad_images(tree: Path, name: str, check: Check, alarm: None) -> None:
    (tree / "val" / "cat" / "5.png").symlink_to(name)
    with pytest.raises(ValueError, match=r"bad images .*: \S+/val/cat/5.png \([^)]+\)$"):
        open_tree(tree, check)
