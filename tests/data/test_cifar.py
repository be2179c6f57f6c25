import builtins
import io
import os
import pickle
import subprocess
import tarfile
from collections.abc import Callable
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
    with pytest.raises(ValueError, match=r"batch cannot be read as a CIFAR file: it asks for builtins.eval"):
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


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "endless device"])
def test_an_archive_that_is_no_file_is_neither_read_nor_written_to(tmp_path: Path, kind: str, alarm: None) -> None:
    place(tmp_path / datasets.CIFAR10.filename, kind)
    with pytest.raises(OSError, match=ODDITIES[kind]):
        read_cifar("cifar10", tmp_path)
    with pytest.raises(OSError, match=ODDITIES[kind]):
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
    with pytest.raises(ValueError, match=r"x.tar.gz is not an archive that can be unpacked: "):
        extract(tmp_path / "here" / "x.tar.gz", tmp_path / "here" / "cifar")
    assert [p.name for p in tmp_path.rglob("*")] == ["here", "x.tar.gz"]
    assert not Path("/nowhere").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_damaged_archives_are_named(tmp_path: Path, content: bytes | None) -> None:
    archive = tmp_path / "x.tar.gz"
    pack(archive, *(member(f"cifar/{i}") for i in range(100)))
    archive.write_bytes(archive.read_bytes()[:200] if content is None else content)
    with pytest.raises(ValueError, match=r"x.tar.gz is not an archive that can be unpacked: "):
        extract(archive, tmp_path / "cifar")


def test_another_archive_is_named(tmp_path: Path) -> None:
    pack(tmp_path / "x.tar.gz", member("mnist/1"))
    with pytest.raises(ValueError, match=r"x.tar.gz does not contain the folder cifar"):
        extract(tmp_path / "x.tar.gz", tmp_path / "cifar")
