import io
import os
import re
import shutil
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from convnext_path import Data
from convnext_path.data import decoding, folders
from convnext_path.data.datasets import Splits, open_data
from convnext_path.data.listing import list_images
from convnext_path.files import cache_file

Maker = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path, make_images: Maker) -> Path:
    """Two classes with five good images each in train/ and val/."""
    make_images(tmp_path / "images" / "train")
    make_images(tmp_path / "images" / "val")
    return tmp_path / "images"


def open_tree(tree: Path, skip_bad_images: bool = False) -> Splits:
    open_data.cache_clear()
    return open_data(Data("imagefolder", root=str(tree), skip_bad_images=skip_bad_images))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 36, 3), dtype=np.uint8))


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds one row of nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def flip_byte(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


BAD_CONTENTS = {
    "empty": ("new.png", b"", "empty"),
    "text": ("new.jpg", b"not an image", "no image"),
    "html": ("new.jpeg", b"<html>404 Not Found</html>", "no image"),
    "truncated PNG": ("new.png", encode(NOISE, "PNG")[:900], "truncated"),
    "truncated JPEG": ("new.jpg", encode(NOISE, "JPEG")[:900], "truncated"),
    "truncated BMP": ("new.bmp", encode(NOISE, "BMP")[:900], "truncated"),
    "truncated PPM": ("new.ppm", encode(NOISE, "PPM")[:900], "."),
    "truncated TIFF": ("new.tif", encode(NOISE, "TIFF")[:900], "."),
    "truncated WebP": ("new.webp", encode(NOISE, "WEBP")[:900], "."),
    "header alone": ("new.png", encode(NOISE, "PNG")[:8], "."),
    "broken PNG": ("new.png", flip_byte(encode(NOISE, "PNG"), 50), "broken"),
    "broken header": ("new.png", flip_byte(encode(NOISE, "PNG"), 20), "no image"),
    "PostScript": ("new.jpg", encode(NOISE, "EPS"), "no image"),
    "floating point": ("new.tiff", encode(Image.new("F", (9, 9), 0.5), "TIFF"), "floating-point pixels"),
    "32 bits": ("new.tiff", encode(Image.new("I", (9, 9), 70000), "TIFF"), "pixels of more than 16 bits"),
    "negative": ("new.tiff", encode(Image.new("I", (9, 9), -1), "TIFF"), "pixels of more than 16 bits"),
    "bomb": ("new.png", png_of(20000, 20000), "decompression bomb"),
    "large": ("new.png", png_of(10000, 10000), "."),
}


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("kind", BAD_CONTENTS)
def test_bad_contents_are_named_or_left_out(tree: Path, kind: str, split: str) -> None:
    before = open_tree(tree)
    name, content, reason = BAD_CONTENTS[kind]
    bad = tree / split / "cat" / name
    bad.write_bytes(content)
    with pytest.raises(ValueError, match=f"leaves them out\\): {re.escape(str(bad))} \\(.*{reason}.*\\)$") as caught:
        open_tree(tree)
    assert str(caught.value).count("new.") == 1
    splits = open_tree(tree, skip_bad_images=True)
    assert (len(splits.train_indices), len(splits.val_indices)) == (10, 10)
    assert (splits.notes, splits.digest) == (("bad images left out: 1",), before.digest)


def dangling(bad: Path) -> None:
    bad.symlink_to("nowhere.png")


def to_itself(bad: Path) -> None:
    bad.symlink_to(bad)


def pipe(bad: Path) -> None:
    os.mkfifo(bad)


def device(bad: Path) -> None:
    bad.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (dangling, "No such file or directory"),
        (to_itself, "Too many levels of symbolic links"),
        (pipe, "it is a pipe"),
        (device, "it is a device"),
    ],
)
def test_what_is_no_file_is_named_or_left_out(tree: Path, build: Callable[[Path], None], reason: str) -> None:
    bad = tree / "train" / "dog" / "bad.png"
    build(bad)
    with pytest.raises(ValueError, match=f"{bad} \\({reason}\\)$"):
        open_tree(tree)
    assert len(open_tree(tree, skip_bad_images=True).train_indices) == 10


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_and_folders_are_named(tree: Path) -> None:
    bad = tree / "train" / "dog" / "0.png"
    bad.chmod(0)
    with pytest.raises(ValueError, match=f"{bad} \\(Permission denied\\)$"):
        open_tree(tree)
    bad.chmod(0o644)
    assert len(open_tree(tree).train_indices) == 10
    (tree / "val" / "cat" / "deep").mkdir(mode=0)
    with pytest.raises(ValueError, match="val/cat/deep cannot be read: Permission denied"):
        open_tree(tree)


def test_errors_of_the_file_system_are_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: object) -> Image.Image:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(decoding, "open_image", fail)
    with pytest.raises(
        ValueError, match=r"train/cat/0.png \(Permission denied\), .*val/dog/4.png \(Permission denied\)$"
    ):
        open_tree(tree)


@pytest.mark.parametrize(("count", "end"), [(20, r"19.jpg \(empty\)$"), (23, r"\) and 3 more$")])
def test_all_bad_images_are_named_up_to_20(tree: Path, count: int, end: str) -> None:
    for i in range(count):
        (tree / "train" / "cat" / f"bad{i:02}.jpg").touch()
    with pytest.raises(ValueError, match=end) as caught:
        open_tree(tree)
    assert str(caught.value).count("(empty)") == 20


def test_bad_images_of_both_splits_are_named_at_once(tree: Path) -> None:
    (tree / "train" / "cat" / "a.png").touch()
    (tree / "val" / "dog" / "b.png").touch()
    with pytest.raises(ValueError, match=r"train/cat/a.png \(empty\), .*val/dog/b.png \(empty\)$"):
        open_tree(tree)


def test_a_class_of_bad_images_alone_is_one_without_images(tree: Path) -> None:
    for file in (tree / "val" / "dog").iterdir():
        file.write_bytes(b"")
    assert open_tree(tree, skip_bad_images=True).notes == ("bad images left out: 5", "no validation images of: dog")
    for file in (tree / "train" / "dog").iterdir():
        file.write_bytes(b"")
    with pytest.raises(ValueError, match=f"no good images in {tree / 'train' / 'dog'}$"):
        open_tree(tree, skip_bad_images=True)


def gray16(value: int) -> Image.Image:
    return Image.fromarray(np.full((2, 2), value, np.uint16))


def palette(transparency: int | None = None) -> bytes:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return encode(image, "PNG", **({} if transparency is None else {"transparency": bytes([255, transparency])}))


GOOD_CONTENTS = {
    "1-bit": ("png", encode(Image.new("1", (2, 2), 1), "PNG"), (255, 255, 255)),
    "gray": ("png", encode(Image.new("L", (2, 2), 77), "PNG"), (77, 77, 77)),
    "palette": ("png", palette(), (10, 20, 30)),
    "palette, transparent": ("png", palette(0), (255, 255, 255)),
    "palette, half transparent": ("png", palette(128), (132, 137, 142)),
    "LA, transparent": ("png", encode(Image.new("LA", (2, 2), (0, 0)), "PNG"), (255, 255, 255)),
    "RGBA, opaque": ("png", encode(Image.new("RGBA", (2, 2), (1, 2, 3, 255)), "PNG"), (1, 2, 3)),
    "RGBA, half transparent": ("png", encode(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG"), (127, 127, 127)),
    "RGBA, WebP": (
        "webp",
        encode(Image.new("RGBA", (2, 2), (9, 9, 9, 0)), "WEBP", lossless=True, exact=True),
        (255, 255, 255),
    ),
    "RGB with a transparent color": (
        "png",
        encode(Image.new("RGB", (2, 2), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        (255, 255, 255),
    ),
    "CMYK": ("jpg", encode(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", quality=100), (0, 255, 255)),
    "CMYK, TIFF": ("tif", encode(Image.new("CMYK", (2, 2), (0, 0, 0, 255)), "TIFF"), (0, 0, 0)),
    "16-bit PNG, white": ("png", encode(gray16(65535), "PNG"), (255, 255, 255)),
    "16-bit PNG, gray": ("png", encode(gray16(100 * 257), "PNG"), (100, 100, 100)),
    "10-bit PNG": ("png", encode(gray16(300), "PNG"), (75, 75, 75)),
    "16-bit TIFF": ("tiff", encode(gray16(128 * 257), "TIFF"), (128, 128, 128)),
    "16-bit TIFF, big-endian": (
        "tiff",
        encode(Image.frombytes("I;16B", (1, 1), b"\x80\x80"), "TIFF"),
        (128, 128, 128),
    ),
    "16-bit PGM": ("pgm", b"P5 2 1 65535\n" + b"\x80\x80" * 2, (128, 128, 128)),
    "12-bit PGM": ("pgm", b"P5 2 1 4095\n" + b"\x0f\xff" * 2, (255, 255, 255)),
    "integers": ("tiff", encode(Image.new("I", (2, 2), 65535), "TIFF"), (255, 255, 255)),
    "1 x 1": ("png", encode(Image.new("RGB", (1, 1), (4, 5, 6)), "PNG"), (4, 5, 6)),
    "GIF by another name": ("jpg", encode(Image.new("L", (2, 2), 77), "GIF"), (77, 77, 77)),
    "PNG by another name": ("JPEG", encode(Image.new("RGB", (2, 2), (4, 5, 6)), "PNG"), (4, 5, 6)),
}


@pytest.mark.parametrize("kind", GOOD_CONTENTS)
def test_images_of_any_mode_become_rgb(tree: Path, kind: str) -> None:
    end, content, color = GOOD_CONTENTS[kind]
    (tree / "train" / "cat" / f"00.{end}").write_bytes(content)
    splits = open_tree(tree)
    assert (splits.train[1].dtype, len(splits.train[1])) == (torch.uint8, 3)
    place = [str(file) for file in splits.train.files].index(f"cat/00.{end}")  # type: ignore[attr-defined]
    assert splits.train[place].flatten(1).unique(dim=1).flatten().tolist() == list(color)
    assert splits.train.labels[place] == 0


def test_large_images_are_read_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.new("RGB", (36, 40)).save(tmp_path / name / f"{i}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_tree(tmp_path).train[0].shape == (3, 40, 36)


def test_hidden_and_stray_files_do_not_count(tree: Path) -> None:
    before = open_tree(tree)
    for place in (tree, tree / "train", tree / "train" / "cat", tree / "val" / "dog"):
        (place / ".ipynb_checkpoints").mkdir()
        for name in (".ipynb_checkpoints/0.png", "._cat.jpg", ".DS_Store", "Thumbs.db", "notes.txt"):
            (place / name).write_text("no image")
    (tree / "train" / "cat" / "folder" / ".hidden").mkdir(parents=True)
    (tree / "train" / "cat" / "folder" / ".hidden" / "0.png").write_text("no image")
    after = open_tree(tree)
    assert (after.digest, after.classes, len(after.train_indices)) == (before.digest, before.classes, 10)


def test_images_lie_at_any_depth_in_the_order_of_torchvision(tree: Path, make_images: Maker) -> None:
    folder = tree / "train"
    make_images(folder / "cat", "a a-b a/c B é", count=2)
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "UPPER.PNG")
    theirs = make_dataset(str(folder), {"cat": 0, "dog": 1}, extensions=IMG_EXTENSIONS)
    assert [str(folder / file) for file in list_images(folder).files] == [path for path, _ in theirs]
    assert open_tree(tree).train.labels.tolist() == [label for _, label in theirs]


def test_links_are_followed_out_of_the_tree(tree: Path, tmp_path: Path) -> None:
    before = open_tree(tree)
    (tree / "train" / "dog").rename(tmp_path / "dogs")
    (tree / "train" / "dog").symlink_to(tmp_path / "dogs")
    (tree / "train" / "cat" / "0.png").rename(tmp_path / "one.png")
    (tree / "train" / "cat" / "0.png").symlink_to(tmp_path / "one.png")
    assert open_tree(tree).digest == before.digest
    shutil.copy(tmp_path / "dogs" / "1.png", tmp_path / "one.png")
    assert open_tree(tree).digest != before.digest


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "deep"])
def test_links_in_circles_are_left(tree: Path, target: str) -> None:
    deep = tree / "train" / "cat" / "deep"
    deep.mkdir()
    (deep / "circle").symlink_to(tree / "train" / "cat" / target)
    (tree / "train" / "cat" / "circle").symlink_to(target)
    assert len(open_tree(tree).train_indices) == 10


def test_a_class_that_is_its_own_folder_is_empty(tree: Path) -> None:
    (tree / "train" / "self").symlink_to(".")
    with pytest.raises(ValueError, match="no images in .*train/self$"):
        open_tree(tree)


def test_classes_missing_from_val_do_not_shift_labels(tree: Path, make_images: Maker) -> None:
    make_images(tree / "train", "bee eel")
    splits = open_tree(tree)
    assert splits.classes == ("bee", "cat", "dog", "eel")
    assert splits.val.labels.tolist() == [1] * 5 + [2] * 5
    assert splits.notes == ("no validation images of: bee, eel",)


def test_the_image_size_is_the_median_of_the_good_training_images(tree: Path, make_images: Maker) -> None:
    make_images(tree / "train", "eel", count=11, size=(70, 99))
    assert open_tree(tree).image_size == 64
    assert open_data(Data("imagefolder", root=str(tree), image_size=48)).image_size == 48
    assert open_data(Data("imagenet", root=str(tree))).image_size == 224


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names: list[str] = []
    open_image = decoding.open_image

    def note(file: io.BufferedReader) -> Image.Image:
        names.append(file.name)
        return open_image(file)

    monkeypatch.setattr(decoding, "open_image", note)
    return names


def test_every_image_is_decoded_once_and_not_again(tree: Path, decoded: list[str]) -> None:
    (tree / "train" / "cat" / "bad.png").write_text("no image")
    first = open_tree(tree, skip_bad_images=True)
    assert len(set(decoded)) == len(decoded) == 21
    again = open_tree(tree, skip_bad_images=True)
    with pytest.raises(ValueError, match="bad.png"):
        open_tree(tree)
    assert len(decoded) == 21
    assert (again.digest, again.notes, again.image_size) == (first.digest, first.notes, first.image_size)


@pytest.mark.parametrize(
    ("room", "again"),
    [(10 * 3 * 36 * 40, 0), (10 * 3 * 36 * 40 - 1, 1), (10 * 3 * 36 * 36, 1), (10 * 3 * 36 * 36 - 1, 10)],
)
def test_a_small_folder_is_kept_in_memory_as_far_as_there_is_room(
    tree: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch, room: int, again: int
) -> None:
    monkeypatch.setattr(folders, "KEPT_BYTES", room)
    images = open_tree(tree).train
    decoded.clear()
    first, second = ([images[i] for i in range(10)] for _ in range(2))
    assert len(decoded) == 10 + again
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_large_images_among_small_ones_take_no_more_room(
    tree: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(4):
        Image.new("RGB", (36, 4000)).save(tree / "train" / "cat" / f"{i}.png")
    monkeypatch.setattr(folders, "KEPT_BYTES", 10 * 3 * 36 * 40)
    images = open_tree(tree).train
    decoded.clear()
    assert [images[i].shape for i in range(10)] == [images[i].shape for i in range(10)]
    assert sum(image.nbytes for image in images.kept.values()) == 6 * 3 * 36 * 40  # type: ignore[attr-defined]
    assert len(decoded) == 10 + 4


def test_a_changed_image_changes_the_digest(tree: Path, decoded: list[str]) -> None:
    file = tree / "val" / "dog" / "0.png"
    pixels = np.asarray(Image.open(file)).copy()
    Image.fromarray(pixels).save(file, compress_level=0)
    before, size, time = open_tree(tree).digest, file.stat().st_size, file.stat().st_mtime_ns
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(file, compress_level=0)
    os.utime(file, ns=(time + 1, time + 1))
    decoded.clear()
    assert file.stat().st_size == size
    assert open_tree(tree).digest != before
    assert len(decoded) == 10  # the training images are as they were


def test_a_name_and_a_class_are_part_of_the_digest(tree: Path) -> None:
    before = open_tree(tree).digest
    file = tree / "train" / "dog" / "0.png"
    renamed = file.rename(file.with_name("5.png"))
    assert open_tree(tree).digest != before
    moved = renamed.rename(tree / "train" / "cat" / "5.png")
    assert open_tree(tree).digest != before
    moved.rename(file)
    assert open_tree(tree).digest == before


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"digest": 1}', '{"digest": "0", "side": 1, "bad": [1]}', "\udcff", '{"x": 1}']
)
def test_a_damaged_cache_means_another_scan(tree: Path, decoded: list[str], content: str) -> None:
    before = open_tree(tree)
    decoded.clear()
    files = sorted(cache_file("x").parent.glob("*.json"))
    assert len(files) == 2
    for file in files:
        file.write_bytes(content.encode(errors="surrogateescape"))
    assert open_tree(tree).digest == before.digest
    assert len(decoded) == 20
    assert sorted(cache_file("x").parent.glob("*.json")) == files


def test_a_cache_that_cannot_be_written_means_another_scan(
    tree: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert open_tree(tree).digest == open_tree(tree).digest
    assert len(decoded) == 40
