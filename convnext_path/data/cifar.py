"""CIFAR's archives, fetched and read without running what they hold: pickles may contain code."""

import io
import os
import pickle
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets
from torchvision.datasets.utils import download_url

from convnext_path.files import check_regular, open_regular, read_regular
from convnext_path.words import show_name

#: Pixels of (N, 3, 32, 32), uint8, and N labels.
Part = tuple[np.ndarray[Any, np.dtype[np.uint8]], list[int]]


def read_cifar(name: str, root: Path) -> tuple[Part, Part, tuple[str, ...]]:
    """The training part, the test part and the classes of ``cifar10`` or ``cifar100``, downloaded unless in ``root``.

    Raises:
        ValueError: a file that is not CIFAR's.
        OSError, RuntimeError: it is not there and could not be downloaded.
    """
    source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    folder = root / source.base_folder
    if not folder.is_dir():
        archive = root / source.filename
        if archive.exists():
            check_regular(archive.stat().st_mode, archive)  # what is there would be written to
        download_url(source.url, str(root), source.filename, source.tgz_md5)
        extract(archive, folder)
    classes = read_classes(folder / source.meta["filename"], source.meta["key"])
    train, test = (
        join([read_batch(folder / file, len(classes)) for file, _ in files])
        for files in (source.train_list, source.test_list)
    )
    return train, test, classes


def extract(archive: Path, folder: Path) -> None:
    """Unpack the one folder that ``archive`` holds, whole or not at all.

    Raises:
        ValueError: the archive is damaged, holds something else, or would write elsewhere.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
        try:
            with open_regular(archive) as stream, tarfile.open(fileobj=stream) as tar:
                tar.extractall(draft, filter=keep_inside)
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise ValueError(show_name(f"{archive} is not an archive that can be unpacked: {error}")) from None
        if not (Path(draft) / folder.name).is_dir():
            raise ValueError(f"{show_name(archive)} does not contain the folder {folder.name}")
        os.replace(Path(draft) / folder.name, folder)


def keep_inside(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
    """The filter "data" of tarfile, but for absolute paths, which that takes for relative ones."""
    if os.path.isabs(member.name):
        raise tarfile.AbsolutePathError(member)
    return tarfile.data_filter(member, path)


class DType:
    """What a pickle has for NumPy's dtype: its code, such as u1."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Byte order and fields: a byte has neither."""


class Array:
    """What a pickle has for a NumPy array: ``values``, if it is one of bytes.

    NumPy's own classes would make arrays of objects at any address that a pickle names.
    """

    values: np.ndarray[Any, np.dtype[np.uint8]]

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[int, tuple[int, ...], DType, bool, str | bytes]) -> None:
        _, shape, dtype, fortran, raw = state
        if dtype.code != "u1":
            raise ValueError(f"an array of {dtype.code}, not of bytes")
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        self.values = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


#: All that a pickle of arrays, lists, dicts, strings and numbers asks for.
ALLOWED = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): DType,
    ("numpy.core.multiarray", "_reconstruct"): Array,
    ("numpy._core.multiarray", "_reconstruct"): Array,  # as NumPy 2 writes it
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads arrays of bytes in lists and dicts, and calls nothing else."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
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
    if not (isinstance(pixels, np.ndarray) and pixels.shape[1:] == (3072,)):
        raise ValueError(f"{show_name(file)} does not contain images of 3 x 32 x 32 bytes")
    if not (isinstance(labels, list) and len(labels) == len(pixels) and all(x in range(num_classes) for x in labels)):
        raise ValueError(f"{show_name(file)} does not contain a label from 0 to {num_classes - 1} for each image")
    return pixels.reshape(-1, 3, 32, 32), labels


def join(parts: list[Part]) -> Part:
    return np.concatenate([pixels for pixels, _ in parts]), [label for _, labels in parts for label in labels]
