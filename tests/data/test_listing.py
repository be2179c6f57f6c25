import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import pytest

from convnext_path import Data
from convnext_path.data.datasets import Splits, open_data
from convnext_path.data.listing import fold, list_images
from convnext_path.words import show_name

Maker = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path, make_images: Maker) -> Path:
    """Two classes with ten images each in train/ and val/."""
    make_images(tmp_path / "images" / "train", count=10)
    make_images(tmp_path / "images" / "val", count=10)
    return tmp_path / "images"


def open_tree(tree: Path, **options: object) -> Splits:
    open_data.cache_clear()
    return open_data(Data("imagefolder", root=str(tree), **options))  # type: ignore[arg-type]


def test_files_that_are_not_read_are_counted_by_ending(tree: Path) -> None:
    before = open_tree(tree)
    for i in range(30):
        (tree / "train" / "cat" / f"{i}.HEIC").touch()
    for name in ("a.txt", "b.txt", "README", "Makefile", "labels.json", "0.png.bak"):
        (tree / "val" / "dog" / name).touch()
    for name in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini", ".hidden.txt", "Icon\r"):
        (tree / "val" / "dog" / name).touch()
    (tree / "val" / "notes.txt").touch()
    (tree / "train" / "cat" / ".git").mkdir()
    (tree / "train" / "cat" / ".git" / "config").touch()
    after = open_tree(tree)
    kinds = ".heic 30, without an ending 2, .txt 2, .json 1, .bak 1"
    assert {*after.notes[0].split(": ")[1].split(", ")} == {*kinds.split(", ")}
    assert after.notes[0].startswith("files left out, of kinds that are not read: .heic 30, ")
    assert (len(after.notes), after.digest) == (1, before.digest)


def test_a_class_of_files_that_are_not_read_is_empty(tree: Path) -> None:
    for file in (tree / "train" / "cat").iterdir():
        file.rename(file.with_suffix(".heic"))
    with pytest.raises(ValueError, match=r"no images in .*train/cat \(files left out, .*: .heic 10\)$"):
        open_tree(tree)


@pytest.mark.parametrize("split", ["train", "val"])
def test_images_in_no_class_are_counted(tree: Path, split: str) -> None:
    before = open_tree(tree)
    for i in range(3):
        shutil.copy(tree / "train" / "cat" / "0.png", tree / split / f"{i}.PNG")
    shutil.copy(tree / "train" / "cat" / "0.png", tree / split / ".hidden.png")
    (tree / split / "notes.txt").touch()
    after = open_tree(tree)
    assert after.notes == ("images left out, beside the class folders: 3",)
    assert after.digest == before.digest


@pytest.mark.parametrize("split", ["val", "test"])
def test_images_beside_the_splits_are_counted(tree: Path, split: str) -> None:
    (tree / "val").rename(tree / split)
    before = open_tree(tree)
    for name in ("a.png", "b.JPG", ".hidden.png", "notes.txt"):
        shutil.copy(tree / "train" / "cat" / "0.png", tree / name)
    shutil.copy(tree / "train" / "cat" / "0.png", tree / split / "c.png")
    after = open_tree(tree)
    assert after.notes == (
        "images left out, beside the class folders: 1",
        f"images left out, beside train/ and {split}/: 2",
    )
    assert after.digest == before.digest


@pytest.mark.parametrize("place", ["", "train", "val"])
@pytest.mark.parametrize("name", ["cats.zip", "cats.TAR", "cats.tar.gz", "cats.tgz", "cats.7z", "cats.rar"])
def test_archives_where_classes_are_looked_for_are_named(tree: Path, place: str, name: str) -> None:
    shutil.rmtree(tree / place)
    (tree / place).mkdir()
    (tree / place / "notes.txt").touch()
    with pytest.raises(ValueError, match="has no class folders$"):
        open_tree(tree)
    (tree / place / name).touch()
    with pytest.raises(ValueError, match=f"has no class folders, but archives: unpack {name}$"):
        open_tree(tree)


@pytest.mark.parametrize(
    "name", ["@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "__MACOSX", ".ipynb_checkpoints", "#snapshot"]
)
@pytest.mark.parametrize("place", ["train", "train/cat", "val/dog/deeper"])
def test_folders_that_systems_make_are_no_classes_and_hold_no_images(
    tree: Path, name: str, place: str, make_images: Maker
) -> None:
    before = open_tree(tree)
    make_images(tree / place / name, count=2)
    after = open_tree(tree)
    assert (after.classes, after.digest) == (before.classes, before.digest)


@pytest.mark.parametrize("place", ["train/results", "train/cat/results", "val/results", "val/dog/a/b"])
def test_a_study_among_images_is_refused(tree: Path, place: str, make_images: Maker) -> None:
    make_images(tree / place, "charts", count=1)
    (tree / place / "study.json").write_text("{}")
    if place != "val/results":
        assert open_tree(tree)  # another's file of that name
    (tree / place / "study.json").write_text('{"rungs": ["resnet"]}')
    with pytest.raises(ValueError, match=f"{place} is a study among the images"):
        open_tree(tree)


def test_a_split_that_is_not_used_is_said(tree: Path, make_images: Maker) -> None:
    make_images(tree / "test", "cat")
    make_images(tree, "bee", count=1)
    (tree / ".hidden").mkdir()
    (tree / "notes.txt").touch()
    notes = open_tree(tree).notes
    assert notes == (
        "val/ validates; test/ beside it is not used",
        "folders beside train/ and val/ are not used: bee",
    )
    shutil.rmtree(tree / "val")
    assert open_tree(tree).notes[0] == "folders beside train/ and test/ are not used: bee"


@pytest.mark.parametrize("count", [1, 7])
def test_images_in_both_splits_are_counted(tree: Path, count: int) -> None:
    for i in range(count):
        shutil.copy(tree / "train" / "cat" / f"{i}.png", tree / "val" / "dog" / f"same {i}.png")
    assert open_tree(tree).notes == (f"validation images that are training images too: {count} of {20 + count}",)
    assert open_tree(tree, check_images="headers").notes[1:] == ()


def test_images_twice_in_one_tree_are_counted_where_they_are_split(tree: Path) -> None:
    assert not open_tree(tree / "train").notes
    for i in range(10):
        shutil.copy(tree / "train" / "cat" / f"{i}.png", tree / "train" / "cat" / f"same {i}.png")
    splits = open_tree(tree / "train")
    names = [splits.train.files[i] for i in splits.val_indices]  # type: ignore[attr-defined]
    twins = {name.replace("same ", "") if "same" in name else name.replace("cat/", "cat/same ") for name in names}
    shared = sum(splits.train.files[i] in twins for i in splits.train_indices)  # type: ignore[attr-defined]
    assert shared
    assert splits.notes == (f"validation images that are training images too: {shared} of {len(names)}",)


NAMES = {
    "é": ("é", "e\u0301"),
    "Å": ("\u212b", "\u00c5"),
    "ñandú": ("ñandú", "n\u0303andu\u0301"),
    "한": ("한", "\u1112\u1161\u11ab"),
    "ü": ("u\u0308", "ü"),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_read_alike_are_one_class(tree: Path, name: str) -> None:
    there, here = NAMES[name]
    assert there != here
    assert normalize("NFC", there) == normalize("NFC", here)
    (tree / "train" / "cat").rename(tree / "train" / there)
    (tree / "val" / "cat").rename(tree / "val" / here)
    splits = open_tree(tree)
    assert set(splits.classes) == {there, "dog"}
    label = splits.classes.index(there)
    ours = [place for place, file in enumerate(splits.val.files) if file.startswith(here)]  # type: ignore[attr-defined]
    assert splits.val.labels[ours].tolist() == [label] * 10
    assert splits.notes == ()


def test_both_forms_are_two_classes_where_training_has_both(tree: Path, make_images: Maker) -> None:
    for split in ("train", "val"):
        make_images(tree / split, "é e\u0301")
    splits = open_tree(tree)
    assert len(splits.classes) == 4
    assert {file.split("/")[0]: splits.classes[label] for file, label in zip(splits.val.files, splits.val.labels)} == {  # type: ignore[attr-defined]  # noqa: B905
        name: name for name in splits.classes
    }
    assert splits.notes[0].startswith("classes whose names look alike: ")


@pytest.mark.parametrize(
    ("one", "other"),
    [("Cat", "cat"), ("straße", "STRASSE"), ("ﬁsh", "fish"), ("a b", "a  b"), ("x ", "x"), ("Ⅳ", "iv")],
)
def test_names_that_look_alike_are_said(tree: Path, make_images: Maker, one: str, other: str) -> None:
    assert fold(one) == fold(other)
    shutil.copytree(tree / "train" / "cat", tree / "train" / "bird")
    for split in ("train", "val"):
        (tree / split / "cat").rename(tree / split / one)
        if one != other:
            shutil.copytree(tree / split / one, tree / split / other)
    (note,) = [note for note in open_tree(tree).notes if "look alike" in note]
    assert one in note
    assert other in note
    assert "dog" not in note


@pytest.mark.parametrize(("there", "here"), [("cat", "Cat"), ("fish", "ﬁsh"), ("a b", "a  b")])
def test_a_class_that_is_missing_is_named_with_the_one_that_it_looks_like(tree: Path, there: str, here: str) -> None:
    (tree / "train" / "cat").rename(tree / "train" / there)
    (tree / "val" / "cat").rename(tree / "val" / here)
    with pytest.raises(ValueError, match=f"classes that .*train lacks: {here} \\(there it is {there}\\)$"):
        open_tree(tree)


@pytest.mark.parametrize("gone", [False, True], ids=["empty", "missing"])
def test_an_empty_class_folder_is_as_a_missing_one(tree: Path, gone: bool) -> None:
    shutil.rmtree(tree / "val" / "dog")
    if not gone:
        (tree / "val" / "dog" / "deep").mkdir(parents=True)
    assert open_tree(tree).notes == ("no validation images of: dog",)
    (tree / "val" / "fox").mkdir()  # unknown, and empty
    assert open_tree(tree).notes == ("no validation images of: dog",)
    shutil.rmtree(tree / "val" / "cat")
    (tree / "val" / "cat").mkdir()
    with pytest.raises(ValueError, match="no images in .*/val$"):
        open_tree(tree)


@pytest.mark.parametrize("gone", [False, True], ids=["empty", "missing"])
def test_training_without_images_of_a_class_is_refused(tree: Path, gone: bool) -> None:
    shutil.rmtree(tree / "train" / "dog")
    if not gone:
        (tree / "train" / "dog").mkdir()
    with pytest.raises(ValueError, match=r"train lacks: dog$|no images in .*train/dog$"):
        open_tree(tree)


def lead_nowhere(place: Path) -> None:
    place.symlink_to("nowhere")


def lead_round(place: Path) -> None:
    place.symlink_to(place.name)


def lead_to_a_file(place: Path) -> None:
    place.with_name("file").touch()
    place.symlink_to("file")


@pytest.mark.parametrize("build", [lead_nowhere, lead_round, lead_to_a_file, Path.touch, os.mkfifo])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_that_is_no_folder_is_named(tree: Path, split: str, build: Callable[[Path], None]) -> None:
    if split == "test":
        shutil.rmtree(tree / "val")
    else:
        (tree / split).rename(tree / "test")
    build(tree / split)
    with pytest.raises(ValueError, match=f"/images/{split} is neither a folder nor a link to one$"):
        open_tree(tree)


@pytest.mark.parametrize("build", [lead_nowhere, lead_round])
@pytest.mark.parametrize("split", ["train", "val"])
def test_classes_that_are_links_to_nowhere_are_named(tree: Path, split: str, build: Callable[[Path], None]) -> None:
    build(tree / split / ".hidden")
    assert open_tree(tree).classes == ("cat", "dog")
    build(tree / split / "eel")
    build(tree / split / "bee")
    with pytest.raises(ValueError, match=f"/images/{split} has broken links: bee, eel$"):
        open_tree(tree)


ODD = "x\x1b[2J\r\u202ey"


def leave_out(tree: Path) -> None:
    (tree / "val" / "cat" / f"0.{ODD}").touch()


def spoil(tree: Path) -> None:
    (tree / "val" / "cat" / f"{ODD}.png").touch()


def empty_class(tree: Path) -> None:
    (tree / "train" / ODD).mkdir()


def add_class(tree: Path) -> None:
    shutil.copytree(tree / "val" / "cat", tree / "val" / ODD)


def miss_in_val(tree: Path) -> None:
    shutil.copytree(tree / "train" / "cat", tree / "train" / ODD)


def look_alike(tree: Path) -> None:
    miss_in_val(tree)
    shutil.copytree(tree / "train" / "cat", tree / "train" / ODD.upper())


def lie_beside(tree: Path) -> None:
    (tree / ODD).mkdir()


def keep_study(tree: Path) -> None:
    (tree / "val" / "cat" / ODD).mkdir()
    (tree / "val" / "cat" / ODD / "study.json").write_text('{"rungs": []}')


@pytest.mark.parametrize(
    "oddity", [leave_out, spoil, empty_class, add_class, miss_in_val, look_alike, lie_beside, keep_study]
)
def test_names_are_told_as_text(tree: Path, oddity: Callable[[Path], None]) -> None:
    oddity(tree)
    try:
        told = "; ".join(open_tree(tree).notes)
    except ValueError as error:
        told = str(error)
    assert show_name(ODD).lower() in told.lower()
    assert show_name(told) == told


@pytest.mark.parametrize("split", [[], ["train"], ["train", "val"]])
def test_the_root_is_told_as_text(split: list[str], tmp_path: Path) -> None:
    for name in split:
        (tmp_path / ODD / name).mkdir(parents=True)
    with pytest.raises(ValueError, match=re.escape(show_name(tmp_path / ODD))) as caught:
        open_tree(tmp_path / ODD)
    assert show_name(caught.value) == str(caught.value)


def test_files_are_listed_without_being_opened(tree: Path) -> None:
    os.mkfifo(tree / "train" / "cat" / "x.png")
    assert "cat/x.png" in list_images(tree / "train").files


def test_splits_of_another_case_are_named_as_they_are(tree: Path) -> None:
    (tree / "train").rename(tree / "Train")
    (tree / "val").rename(tree / "Val")
    with pytest.raises(ValueError, match="has Train, Val where class folders are expected; splits are named train/"):
        open_tree(tree)
