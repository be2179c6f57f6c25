import multiprocessing as mp
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ablations.__main__ import main
from ablations.study.trial import Trial
from ablations.training.run import run_trial
from convnext_path import Data
from convnext_path.data.datasets import open_data
from convnext_path.data.stream import MANIFEST, is_stream, write_items

pytest.importorskip("litdata")
pytestmark = pytest.mark.torture  # by processes that import it anew: most of a minute


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory, make_images: Callable[..., Path]) -> tuple[str, str]:
    """A folder of images with a bad one among them, and the stream that was made of it."""
    place = tmp_path_factory.mktemp("roots")
    folder, stream = place / "images", place / "stream"
    make_images(folder / "train", "cat dog eel", count=40)
    make_images(folder / "val", "cat dog", count=7, size=(33, 50))
    (folder / "train" / "dog" / "3.png").write_text("no image")
    assert main(["prepare", "--root", str(folder), "--out", str(stream), "--workers", "2", "--skip-bad-images"]) == 0
    return str(folder), str(stream)


def test_a_stream_is_the_folder(roots: tuple[str, str]) -> None:
    assert [is_stream(root) for root in roots] == [False, True]
    folder, stream = (open_data(Data("imagefolder", root=root, skip_bad_images=True)) for root in roots)
    for name in ("train_indices", "val_indices", "classes", "image_size", "mean", "digest", "notes"):
        assert getattr(folder, name) == getattr(stream, name)
    for one, other in ((folder.train, stream.train), (folder.val, stream.val)):
        assert one.labels.tolist() == other.labels.tolist()
        assert all(torch.equal(one[i], other[i]) for i in range(len(one.labels)))


def test_the_same_trial_gives_the_same_record(roots: tuple[str, str], trial: Trial) -> None:
    trials = [
        replace(trial, data=Data("imagefolder", root=root, image_size=32, skip_bad_images=True)) for root in roots
    ]
    assert trials[0].id == trials[1].id
    outcomes = {run_trial(t, workers).outcome for t in trials for workers in (0, 2)}
    assert len(outcomes) == 1


def test_a_full_folder_is_not_written_into(roots: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["prepare", "--root", roots[0], "--out", roots[1]])
    assert "is not empty; choose another --out" in capsys.readouterr().err


def test_no_stream_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no stream of images at "):
        open_data(Data("imagefolder", root=f"local:{tmp_path}://nothing"))


def test_what_a_stream_carries_is_not_run(tmp_path: Path) -> None:
    stream = tmp_path / "stream"
    with ProcessPoolExecutor(1, mp.get_context("spawn")) as alone:
        alone.submit(write_items, Harm, [str(tmp_path / "harmed")], str(stream / MANIFEST), 1).result()
    with pytest.raises(ValueError, match=r"is not a stream that prepare wrote; its items are stored as \['pickle'\]"):
        open_data(Data("imagefolder", root=str(stream)))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_what_is_stopped_leaves_nothing_behind(
    roots: tuple[str, str], number: signal.Signals, there: bool, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    if there:
        out.mkdir()
    command = [sys.executable, "-m", "ablations", "prepare", "--root", roots[0], "--out", str(out)]
    with subprocess.Popen([*command, "--skip-bad-images"], stderr=subprocess.PIPE, text=True) as process:
        while not [*out.glob(".*/*")]:  # it writes
            time.sleep(0.01)
        process.send_signal(number)
        _, told = process.communicate()
    assert process.returncode == 128 + number
    assert told.startswith("stopped")
    assert "Traceback" not in told
    assert not [*out.iterdir()]


@pytest.mark.parametrize("name", ["manifest/chunk-0-0.bin", "train/index.json", "val/chunk-0-0.bin"])
def test_a_pipe_in_a_stream_is_not_waited_for(roots: tuple[str, str], name: str, tmp_path: Path, alarm: None) -> None:
    stream = tmp_path / "stream"
    shutil.copytree(roots[1], stream)
    (stream / name).unlink()
    os.mkfifo(stream / name)
    with pytest.raises((ValueError, OSError), match="it is a pipe"):
        read_first(stream)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("train/index.json", 9, "no stream of images at "),
        ("train/index.json", None, "no stream of images at .*index.json"),
        ("val/chunk-0-0.bin", 99, "chunk-0-0.bin is damaged: it has 99 bytes of "),
        ("val/chunk-0-0.bin", None, "No such file or directory: .*chunk-0-0.bin"),
    ],
)
def test_a_stream_that_is_damaged_is_not_opened(
    roots: tuple[str, str], name: str, size: int | None, message: str, tmp_path: Path
) -> None:
    file = Path(shutil.copytree(roots[1], tmp_path / "stream")) / name
    file.unlink() if size is None else os.truncate(file, size)
    with pytest.raises(ValueError, match=message):
        open_data(Data("imagefolder", root=str(tmp_path / "stream")))


def test_a_stream_of_other_images_than_its_manifest_says_is_not_opened(roots: tuple[str, str], tmp_path: Path) -> None:
    stream = Path(shutil.copytree(roots[1], tmp_path / "stream"))
    shutil.rmtree(stream / "train")
    shutil.copytree(stream / "val", stream / "train")
    with pytest.raises(ValueError, match="/train has 14 images, its manifest has 119"):
        open_data(Data("imagefolder", root=str(stream)))


@pytest.mark.parametrize("place", ["gs://bucket/x", "s3://"])
def test_storage_that_cannot_be_reached_is_one_line(
    roots: tuple[str, str], place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["prepare", "--root", roots[0], "--skip-bad-images", "--out", place])
    assert capsys.readouterr().err.startswith(f"error: {place} cannot be reached: ")


def read_first(stream: Path) -> None:
    splits = open_data(Data("imagefolder", root=str(stream)))
    assert splits.train[0].shape[0] == splits.val[0].shape[0] == 3


class Harm:
    """Writes a file when it is unpickled."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path(self.file),)  # type: ignore[return-value]
