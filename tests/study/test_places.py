import os
from pathlib import Path

import pytest

from ablations.study.keeping import Keeping
from ablations.study.places import check_places, find_folder
from ablations.study.request import LadderRequest, make_plan
from convnext_path import Data


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In ``flowers``, a folder of images, with a link to it beside it."""
    (tmp_path / "flowers" / "rose").mkdir(parents=True)
    (tmp_path / "link").symlink_to("flowers")
    monkeypatch.chdir(tmp_path / "flowers")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("root", [".", "../flowers", "rose/..", "~/flowers/", "../flowers//", "./"])
def test_roots_are_kept_as_places_and_named_by_the_folder(root: str, tmp_path: Path) -> None:
    plan = make_plan(LadderRequest(data="imagefolder", root=root))
    assert plan.data.root == str(tmp_path / "flowers")
    assert plan.data.title == Data("imagefolder", root=root).title == "flowers"
    assert str(Keeping().find_folder(plan)) == "results/convnext-nano-flowers"


def test_links_keep_their_names_and_urls_are_places(tmp_path: Path) -> None:
    assert make_plan(LadderRequest(data="imagefolder", root="../link")).data.root == str(tmp_path / "link")
    url = make_plan(LadderRequest(data="imagefolder", root="s3://bucket/flowers/")).data
    assert (url.root, url.title) == ("s3://bucket/flowers/", "flowers")


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_downloads_have_a_place(data: str, tmp_path: Path) -> None:
    assert make_plan(LadderRequest(data=data)).data.root == str(tmp_path / "flowers" / "data")
    assert make_plan(LadderRequest()).data.root is None


@pytest.mark.parametrize(
    "study", ["results/x", ".", "rose", "../flowers/a/b", "~/flowers/x", "../link/x", "results/../rose/x"]
)
@pytest.mark.parametrize("root", [".", "../link", "~/flowers"])
def test_a_study_among_images_is_refused(root: str, study: str) -> None:
    with pytest.raises(ValueError, match=r"choose another --study$"):
        check_places(Data("imagefolder", root=root), study)


@pytest.mark.parametrize("study", ["..", "../../../../..", "~", "../flowers/.."])
@pytest.mark.parametrize("data", [Data("imagefolder", root="."), Data("cifar10", root="../flowers/data")])
def test_images_inside_a_study_are_refused(data: Data, study: str) -> None:
    with pytest.raises(ValueError, match=r"lie in .*, where results would go; choose another --study$"):
        check_places(data, study)


@pytest.mark.parametrize("study", ["../results", "../flowers2", "~/flowers-study", os.sep + "somewhere"])
def test_a_study_elsewhere_is_welcome(study: str) -> None:
    check_places(Data("imagefolder", root="."), study)
    check_places(Data("imagefolder", root="s3://bucket/flowers"), study)
    check_places(Data("digits"), study)


def test_a_study_may_lie_beside_a_download() -> None:
    check_places(Data("cifar10", root="."), "results/x")


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\0", "\x1b[31mred", "tab\there", "~nobody-of-that-name/x"])
def test_names_that_nothing_can_show_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="--study"):
        find_folder(name, "--study")


@pytest.mark.parametrize("name", ["\ud800", "x" * 256, "é" * 128, "x/" * 2001])
def test_names_that_no_file_system_takes_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="^--study takes "):
        find_folder(name, "--study")


@pytest.mark.parametrize("name", ["#2", "null", "1e-3", "~x~", "caf\udce9", "a b", "名前", "-"])
def test_other_names_are_the_folders(name: str) -> None:
    assert str(find_folder(f"x/{name}", "--study")) == f"x/{name}"


def test_a_home_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert find_folder("~/x", "--study") == Path("/home/me/x")


@pytest.mark.parametrize("address", ["s3://b/x", "gs://b", "file:///tmp/x", "https://h/x"])
def test_results_go_into_folders_of_this_machine(address: str) -> None:
    with pytest.raises(ValueError, match=f"^--study takes a folder on this machine, got the address {address}$"):
        find_folder(address, "--study")
    with pytest.raises(ValueError, match=r"got the address s3://\*\*\*@b$"):
        find_folder("s3://KEY:hunter2@b")
