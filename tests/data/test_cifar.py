import builtins
import io
import os
import pickle
import subprocess
import tarfile
from collections.abc import Callable
from http.client import BadStatusLine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from convnext_path.data import cifar
from convnext_path.data.cifar import extract, read_cifar
from tests.oddities import ODDITIES, place

Maker = Callable[..., Path]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_what_is_read_is_what_torchvision_reads(
    name: str, tmp_path: Path, make_cifar: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cifar(tmp_path, name)
    source = getattr(datasets, name.upper())
    monkeypatch.setattr(source, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    *parts, classes = read_cifar(name, tmp_path)
    for is_train, (pixels, labels) in zip((True, False), parts, strict=True):
        theirs = source(tmp_path, train=is_train)
        assert np.array_equal(pixels.transpose(0, 2, 3, 1), theirs.data)
        assert (labels, list(classes)) == (theirs.targets, theirs.classes)


def test_a_batch_as_python_2_wrote_it(tmp_path: Path) -> None:
    """Byte for byte what NumPy gave then: module numpy.core, an array's content as a string of Latin-1."""
    state = b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
    state += b"(K\x03U\x01|NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
    raw = bytes(range(256)) * 12
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR" + state
    array += b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    file = tmp_path / "batch"
    file.write_bytes(b"\x80\x02}(U\x04data" + array + b"U\x06labels]K\x07au.")
    pixels, labels = cifar.read_batch(file, 10)
    assert pixels.tobytes() == pickle.loads(file.read_bytes(), encoding="latin1")["data"].tobytes() == raw
    assert (pixels.shape, labels) == ((1, 3, 32, 32), [7])


#: Arrays (4, 3072) of bytes, and lists of labels, as people store them.
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
LABELS = {
    "int": [3, 0, 9, 1],
    **{kind: [*np.asarray([3, 0, 9, 1], kind)] for kind in ("i8", "u1", "i2", ">i4")},
    "array": np.asarray([3, 0, 9, 1]),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("numpy", [1, 2])
def test_a_batch_as_python_3_writes_it(tmp_path: Path, protocol: int, labels: str, order: Any, numpy: int) -> None:
    content = pickle.dumps({"data": np.asarray(PIXELS, order=order), "labels": LABELS[labels]}, protocol)
    file = tmp_path / "batch"
    file.write_bytes(name_as_numpy_1(content) if numpy == 1 else content)
    pixels, found = cifar.read_batch(file, 10)
    assert np.array_equal(pixels.reshape(4, 3072), PIXELS)
    assert found == [3, 0, 9, 1]


def name_as_numpy_1(content: bytes) -> bytes:
    """A pickle with the names that NumPy's modules had, which stand in lines of their own or behind their lengths."""
    if content[:2] in (b"\x80\4", b"\x80\5"):
        content = content[:2] + content[11:]  # without its frame, which states a length too
    for part in (b"multiarray", b"numeric"):
        new, old = b"numpy._core." + part, b"numpy.core." + part
        content = content.replace(b"c%b\n" % new, b"c%b\n" % old)
        content = content.replace(b"\x8c%c%b" % (len(new), new), b"\x8c%c%b" % (len(old), old))
    return content


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


class State:
    """Pickles as an array with a state of its own."""

    def __init__(self, *state: Any) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        return (*np.empty(0, np.uint8).__reduce__()[:2], self.state)


def payloads(mark: Path) -> dict[str, bytes]:
    touch = f"open({str(mark)!r}, 'w')"
    stream = io.BytesIO()
    torch.save({"data": torch.zeros(1)}, stream)
    objects = {
        "system": Call(os.system, f"touch {mark}"),
        "popen": Call(subprocess.Popen, ["touch", str(mark)]),
        "eval": Call(builtins.eval, touch),
        "exec": Call(builtins.exec, touch),
        "import": Call(builtins.__import__, "antigravity"),
        "getattr": Call(getattr, np.ndarray, "tofile"),
        "open": Call(open, str(mark), "w"),
        "namespace": SimpleNamespace(data=1),
        "objects at an address": Call(np.ndarray, (1,), "O", bytes(8)),
        "array of objects": np.array([[1]], dtype=object),
        "array of floats": np.zeros((4, 3072)),
        "too few bytes": State(1, (4, 3072), np.dtype("u1"), False, b"12"),
        "no dtype": State(1, (4, 3072), "u1", False, b"12"),
        "state of a class": Call(np.dtype, []),
    }
    batches = {name: {"data": value, "labels": [0] * 4} for name, value in objects.items()}
    pickles = {name: pickle.dumps(batch, protocol=4) for name, batch in batches.items()}
    return pickles | {
        "torch": stream.getvalue(),
        "empty": b"",
        "text": b"not a pickle",
        "cut off": pickle.dumps({"data": np.zeros((4, 3072), np.uint8)}, protocol=4)[:-200],
        "list": pickle.dumps([1, 2]),
        "state written to a class": b"\x80\x02cnumpy\ndtype\n}U\x04codeU\x02u1sb.",
        "no labels": pickle.dumps({"data": np.zeros((4, 3072), np.uint8)}, protocol=4),
        "few labels": pickle.dumps({"data": np.zeros((4, 3072), np.uint8), "labels": [1]}, protocol=4),
        "label too large": pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}, protocol=4),
        "labels of lists": pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [[]]}, protocol=4),
        "other size": pickle.dumps({"data": np.zeros((1, 300), np.uint8), "labels": [1]}, protocol=4),
    }


@pytest.mark.parametrize("name", payloads(Path("mark")))
def test_hostile_and_damaged_files_are_named_and_run_nothing(name: str, tmp_path: Path, make_cifar: Maker) -> None:
    mark = tmp_path / "mark"
    for file in ("data_batch_3", "batches.meta"):
        bad = make_cifar(tmp_path / file) / file
        bad.write_bytes(payloads(mark)[name])
        with pytest.raises(ValueError, match=str(bad)):
            read_cifar("cifar10", tmp_path / file)
    assert not mark.exists()


def test_a_call_is_named(tmp_path: Path) -> None:
    file = tmp_path / "batch"
    file.write_bytes(pickle.dumps(Call(builtins.eval, "1"), protocol=4))
    with pytest.raises(
        ValueError,
        match=r"batch cannot be read as a CIFAR file: it asks for builtins.eval, .* store arrays of integers",
    ):
        cifar.unpickle(file)


def test_a_missing_file_is_named(tmp_path: Path, make_cifar: Maker) -> None:
    (make_cifar(tmp_path) / "test_batch").unlink()
    with pytest.raises(ValueError, match="test_batch cannot be read as a CIFAR file: .*No such file"):
        read_cifar("cifar10", tmp_path)


@pytest.mark.parametrize(("kind", "why"), ODDITIES.items())
def test_what_is_no_file_is_not_waited_for(
    tmp_path: Path, make_cifar: Maker, kind: str, why: str, alarm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("data_batch_3", "batches.meta"):
        file = make_cifar(tmp_path / name) / name
        file.unlink()
        place(file, kind)
        with pytest.raises(ValueError, match=f"{name} cannot be read as a CIFAR file: {why}"):
            read_cifar("cifar10", tmp_path / name)


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "endless device", "link to nothing"])
def test_an_archive_that_is_no_file_is_neither_read_nor_written_to(tmp_path: Path, kind: str, alarm: None) -> None:
    place(tmp_path / datasets.CIFAR10.filename, kind)
    with pytest.raises(ValueError, match=f"gz cannot be read as CIFAR's: {ODDITIES[kind]}"):
        read_cifar("cifar10", tmp_path)
    with pytest.raises(ValueError, match=ODDITIES[kind]):
        extract(tmp_path / datasets.CIFAR10.filename, tmp_path / "cifar")


def pack(archive: Path, *members: tarfile.TarInfo, folder: Path | None = None) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        if folder is not None:
            tar.add(folder, folder.name)
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))


def test_the_archive_is_checked_and_unpacked(
    tmp_path: Path, make_cifar: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, folder = tmp_path / datasets.CIFAR10.filename, make_cifar(tmp_path / "source")
    pack(archive, folder=folder)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", calculate_md5(archive))
    ours, _, _ = read_cifar("cifar10", tmp_path)
    assert np.array_equal(ours[0], read_cifar("cifar10", tmp_path / "source")[0][0])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["source", archive.name, folder.name])


def serve(content: bytes, error: Exception | None = None) -> Callable[..., None]:
    """Stands for the download: writes some bytes, checks them as torchvision does, or breaks off with an error."""

    def download(address: str, root: str, name: str, md5: str) -> None:
        os.makedirs(root, exist_ok=True)
        file = Path(root) / name
        file.write_bytes(content)
        if error:
            raise error
        if calculate_md5(file) != md5:
            raise RuntimeError("File not found or corrupted.")

    return download


BREAKS = [
    OSError("no route"),
    RuntimeError("File not found or corrupted."),
    BadStatusLine("<html>"),
    RecursionError("redirects"),
]


@pytest.mark.parametrize("error", [None, *BREAKS], ids=repr)
@pytest.mark.parametrize("place", ["", "new", "new/deeper/still"])
def test_a_download_that_fails_leaves_nothing(
    tmp_path: Path, place: str, error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar, "download_url", serve(b"<html>", error))
    with pytest.raises(ValueError, match=f"cifar10 is not in {tmp_path / place}/ and could not be downloaded: "):
        read_cifar("cifar10", tmp_path / place)
    assert not list(tmp_path.iterdir())


def test_a_download_that_is_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "download_url", serve(b"half", KeyboardInterrupt()))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        read_cifar("cifar10", tmp_path / "new" / "deeper")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"half of it", b"packed anew"])
@pytest.mark.parametrize("online", [True, False])
def test_an_archive_that_is_there_is_never_replaced(
    tmp_path: Path, make_cifar: Maker, content: bytes, online: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(tmp_path / "published", folder=make_cifar(tmp_path / "source"))
    published, archive = (tmp_path / "published").read_bytes(), tmp_path / "root" / datasets.CIFAR10.filename
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", calculate_md5(tmp_path / "published"))
    monkeypatch.setattr(cifar, "download_url", serve(published, None if online else OSError("no route")))
    archive.parent.mkdir()
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{archive} is not the published archive: its MD5 is .*; move it away"):
        read_cifar("cifar10", archive.parent)
    assert [*archive.parent.iterdir()] == [archive]
    assert archive.read_bytes() == content
    archive.unlink()
    if online:
        read_cifar("cifar10", archive.parent)
        assert archive.read_bytes() == published


def test_an_archive_that_comes_during_the_download_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / datasets.CIFAR10.filename

    def download(address: str, root: str, name: str, md5: str) -> None:
        archive.write_bytes(b"mine")
        (Path(root) / name).write_bytes(b"theirs")

    monkeypatch.setattr(cifar, "download_url", download)
    with pytest.raises(ValueError, match="is not the published archive"):
        read_cifar("cifar10", tmp_path)
    assert archive.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_inner_folder_is_told_from_the_one_above(
    tmp_path: Path, name: str, make_cifar: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar, "download_url", serve(b"", OSError("never")))
    folder = make_cifar(tmp_path, name)
    told = f"{folder} holds the files of {name} themselves; give the folder above, with {folder.name}/ in it"
    with pytest.raises(ValueError, match=f"^{told}$"):
        read_cifar(name, folder)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, 3 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize(
    "bad",
    [
        member("../../mark"),
        member("cifar/../../../mark"),
        member("/nowhere/mark"),
        member("cifar/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("cifar/link", tarfile.SYMTYPE, "../../../mark"),
        member("cifar/link", tarfile.LNKTYPE, "../../mark"),
        member("cifar/pipe", tarfile.FIFOTYPE),
        member("cifar/device", tarfile.CHRTYPE),
    ],
    ids=lambda info: f"{info.name} {info.linkname}",
)
def test_archives_that_reach_outside_are_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    (tmp_path / "here").mkdir()
    pack(tmp_path / "here" / "x.tar.gz", member("cifar/good"), bad)
    with pytest.raises(ValueError, match=r"x.tar.gz cannot be unpacked: "):
        extract(tmp_path / "here" / "x.tar.gz", tmp_path / "here" / "cifar")
    assert [p.name for p in tmp_path.rglob("*")] == ["here", "x.tar.gz"]
    assert not Path("/nowhere").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_damaged_archives_are_named(tmp_path: Path, content: bytes | None) -> None:
    archive = tmp_path / "x.tar.gz"
    pack(archive, *(member(f"cifar/{i}") for i in range(100)))
    archive.write_bytes(archive.read_bytes()[:200] if content is None else content)
    with pytest.raises(ValueError, match=r"x.tar.gz cannot be unpacked: "):
        extract(archive, tmp_path / "cifar")


def test_another_archive_is_named(tmp_path: Path) -> None:
    pack(tmp_path / "x.tar.gz", member("mnist/1"))
    with pytest.raises(ValueError, match=r"x.tar.gz cannot be unpacked: it does not contain the folder cifar"):
        extract(tmp_path / "x.tar.gz", tmp_path / "cifar")
