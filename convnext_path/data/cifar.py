"""CIFAR's archives, fetched and read without running what they hold: pickles may contain code."""

import hashlib
import io
import itertools
import os
import pickle
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets
from torchvision.datasets.utils import download_url

from convnext_path.files import open_regular, read_regular
from convnext_path.words import show_name

#: Pixels of (N, 3, 32, 32), uint8, and N labels.
Part = tuple[np.ndarray[Any, np.dtype[np.uint8]], list[int]]


def read_cifar(name: str, root: Path) -> tuple[Part, Part, tuple[str, ...]]:
    """The training part, the test part and the classes of ``cifar10`` or ``cifar100``, downloaded unless in ``root``.

    Raises:
        ValueError: a file that is not CIFAR's, or it is not there and could not be downloaded.
        OSError: ``root`` cannot be looked into.
    """
    source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    folder, archive = root / source.base_folder, root / source.filename
    if not folder.is_dir():
        if all((root / file).is_file() for file in (source.meta["filename"], source.train_list[0][0])):
            told = f"{root} holds the files of {name} themselves; give the folder above, with {folder.name}/ in it"
            raise ValueError(show_name(told))
        if not os.path.lexists(archive):
            download(name, source.url, archive, source.tgz_md5)
        check_archive(archive, source.tgz_md5)
        extract(archive, folder)
    classes = read_classes(folder / source.meta["filename"], source.meta["key"])
    train, test = (
        join([read_batch(folder / file, len(classes)) for file, _ in files])
        for files in (source.train_list, source.test_list)
    )
    return train, test, classes


def download(name: str, address: str, archive: Path, md5: str) -> None:
    """Fetch an archive, whole or not at all; one that was put in its place meanwhile stays. Raises a ValueError."""
    try:
        with made_folder(archive.parent), tempfile.TemporaryDirectory(prefix=".", dir=archive.parent) as draft:
            download_url(address, draft, archive.name, md5)
            if not os.path.lexists(archive):
                os.replace(Path(draft) / archive.name, archive)
    except (OSError, RuntimeError, HTTPException) as error:
        told = f"{name} is not in {archive.parent}/ and could not be downloaded: {error}"
        raise ValueError(show_name(told)) from None


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Within, there is a folder; where that fails, it is removed again, with those above, as far as they are new."""
    new = list(itertools.takewhile(lambda place: not place.exists(), (folder, *folder.parents)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for place in new:
            with suppress(OSError):
                place.rmdir()
        raise


def check_archive(archive: Path, md5: str) -> None:
    """Raise a ValueError where an archive is not the published one."""
    try:
        with open_regular(archive) as stream:
            found = hashlib.file_digest(stream, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise ValueError(f"{show_name(archive)} cannot be read as CIFAR's: {error.strerror}") from None
    if found != md5:
        told = f"its MD5 is {found}, not {md5}; move it away, or unpack it there if it is yours"
        raise ValueError(f"{show_name(archive)} is not the published archive: {told}")


def extract(archive: Path, folder: Path) -> None:
    """Unpack the one folder that ``archive`` holds, whole or not at all.

    Raises:
        ValueError: the archive is damaged, holds something else, or would write elsewhere; or there is no room.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
            with open_regular(archive) as stream, tarfile.open(fileobj=stream) as tar:
                tar.extractall(draft, filter=keep_inside)
            if not (Path(draft) / folder.name).is_dir():
                raise tarfile.TarError(f"it does not contain the folder {folder.name}")
            os.replace(Path(draft) / folder.name, folder)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise ValueError(show_name(f"{archive} cannot be unpacked: {error}")) from None


def keep_inside(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
    """The filter "data" of tarfile, but for absolute paths, which that takes for relative ones."""
    if os.path.isabs(member.name):
        raise tarfile.AbsolutePathError(member)
    return tarfile.data_filter(member, path)


#: Codes of the types that are read, of integers.
INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


def encode(text: str | bytes | bytearray, encoding: str = "latin1") -> bytes:
    """What a pickle has for the bytes of a text: Python 2 wrote them as one, by Latin-1, and Python 3 still can."""
    if encoding != "latin1":
        raise ValueError(f"a text in {encoding}, not in latin1")
    return text.encode("latin1") if isinstance(text, str) else bytes(text)


class DType:
    """What a pickle has for NumPy's dtype: its code, such as u1, and its order of bytes."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self.order = str(state[1])

    def read(self, raw: str | bytes | bytearray) -> np.ndarray[Any, np.dtype[np.integer[Any]]]:
        """The integers (N,) in some bytes. Raises a ValueError for another type."""
        if self.code not in INTEGERS or self.order not in ("<", ">", "=", "|"):
            raise ValueError(f"values of {self.code}, not integers")
        return np.frombuffer(encode(raw), np.dtype(self.order + self.code))


class Array:
    """What a pickle has for a NumPy array: ``values``, if it is one of integers.

    NumPy's own classes would make arrays of objects at any address that a pickle names.
    """

    values: np.ndarray[Any, np.dtype[np.integer[Any]]]

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[int, tuple[int, ...], DType, bool, str | bytes]) -> None:
        _, shape, dtype, fortran, raw = state
        self.values = dtype.read(raw).reshape(shape, order="F" if fortran else "C")


def read_buffer(raw: bytes, dtype: DType, shape: tuple[int, ...], order: str, axes: object = None) -> Array:
    """What a pickle of protocol 5 has for a NumPy array; those whose axes were moved (order K) are not read."""
    array = Array()
    if order not in ("C", "F"):
        raise ValueError("an array whose axes are in another order; store a copy of it")
    array.values = dtype.read(raw).reshape(shape, order="F" if order == "F" else "C")
    return array


def read_scalar(dtype: DType, raw: str | bytes) -> int:
    """What a pickle has for one number of NumPy's. Raises a ValueError for any but an integer."""
    return int(dtype.read(raw).item())


#: All that a pickle of arrays, lists, dicts, strings and numbers asks for; NumPy 2 has other names for its parts.
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): DType,
    ("_codecs", "encode"): encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): read_scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): read_buffer for core in ("core", "_core")},
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads arrays of integers in lists and dicts, and calls nothing else."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in ALLOWED:
            remedy = "which could run code and is not loaded; store arrays of integers, lists and strings alone"
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, {remedy}")
        return ALLOWED[module_name, global_name]


def unpickle(file: Path) -> dict[str, Any]:
    """The dict that a file holds.

    Raises:
        ValueError: the file is missing or damaged, or holds something else, code among it.
    """
    try:
        stream = io.BytesIO(read_regular(file))
        content = ArrayUnpickler(stream, encoding="latin1").load()  # as Python 2 wrote it
    except OSError as error:
        raise ValueError(f"{show_name(file)} cannot be read as a CIFAR file: {error.strerror}") from None
    except Exception as error:  # noqa: BLE001 - a damaged pickle fails in every way
        raise ValueError(show_name(f"{file} cannot be read as a CIFAR file: {error}")) from None
    if not isinstance(content, dict):
        raise ValueError(f"{show_name(file)} does not contain a dict")
    return content


def read_classes(file: Path, key: str) -> tuple[str, ...]:
    names = unpickle(file).get(key)
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise ValueError(f"{show_name(file)} does not contain the names of the classes")
    return tuple(names)


def read_batch(file: Path, num_classes: int) -> Part:
    """The images and labels of one file. A ValueError where they are not what CIFAR's are."""
    content = unpickle(file)
    pixels = getattr(content.get("data"), "values", None)
    labels = content.get("labels", content.get("fine_labels"))
    if isinstance(given := getattr(labels, "values", None), np.ndarray):
        labels = given.tolist()
    if not (isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape[1:] == (3072,)):
        raise ValueError(f"{show_name(file)} does not contain images of 3 x 32 x 32 bytes")
    if not (isinstance(labels, list) and len(labels) == len(pixels) and all(x in range(num_classes) for x in labels)):
        raise ValueError(f"{show_name(file)} does not contain a label from 0 to {num_classes - 1} for each image")
    return pixels.reshape(-1, 3, 32, 32), labels


def join(parts: list[Part]) -> Part:
    return np.concatenate([pixels for pixels, _ in parts]), [label for _, labels in parts for label in labels]
