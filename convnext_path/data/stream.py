"""Image folders as chunks of many images (litdata), on a disk or in object storage: the same images in the same order.

What is stored is each file's content, so that decoding gives the pixels that it gives in the folder. Chunks are taken
to stay as they were written: a stream is written once, and its digest is that of the images which were read for it.
"""

import io
import json
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from convnext_path.data.decoding import decode, ignored_warnings
from convnext_path.data.folders import Folders
from convnext_path.data.scanning import Scan
from convnext_path.files import check_regular, parse_json, read_regular
from convnext_path.programs import end_with_parent
from convnext_path.words import show_name

#: A set of one item beside the sets of images: their classes and labels, and what a scan found.
MANIFEST = "manifest"
CHUNK = "64MB"


class StreamImages:
    """The images of one stream, fetched chunk by chunk and decoded when asked for."""

    def __init__(self, place: str, labels: Sequence[int], scan: Scan, bits: int) -> None:
        self.place, self.labels, self.scan = place, np.asarray(labels, dtype=np.int64), scan
        self.bits, self.contents = bits, scan.list_contents()

    @cached_property
    def items(self) -> Any:
        return open_items(self.place)

    def __getitem__(self, index: int) -> Tensor:
        with ignored_warnings():
            return decode(io.BytesIO(self.items[index]), self.bits)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open: each process that reads opens its own."""
        return {name: value for name, value in self.__dict__.items() if name != "items"}


def is_stream(root: str) -> bool:
    """Whether ``root`` is where :func:`write_stream` has written, or a URL, which can be nothing else."""
    return "://" in root or (Path(root).expanduser() / MANIFEST / "index.json").is_file()


def write_stream(folders: Folders, out: str, workers: int = 1) -> None:
    """Write each split's good images, and a manifest when all are there. ``out``: a folder, or a URL.

    Raises:
        ImageFileError: a file is not what it was when the images were checked.
    """
    contents = {}
    for name, images in zip(("train", "val"), folders.images, strict=False):
        write_items(partial(images.read, how=read_whole), [*range(len(images.files))], f"{out}/{name}", workers)
        contents[name] = {"labels": images.labels.tolist(), "scan": images.scan.to_dict()}
    manifest = json.dumps({"classes": folders.classes, "splits": contents, "notes": folders.notes})
    write_items(str.encode, [manifest], f"{out}/{MANIFEST}", 1)


def check_empty(out: str) -> None:
    """Raise a ValueError where something is already: litdata would remove it."""
    if "://" in out:
        import_litdata()
        from litdata.streaming.fs_provider import _get_fs_provider

        empty = _get_fs_provider(out).is_empty(out)
    else:
        empty = not (Path(out).exists() and any(Path(out).iterdir()))
    if not empty:
        raise ValueError(f"{show_name(out)} is not empty; choose another --out")


def write_apart(folders: Folders, out: str, workers: int) -> None:
    """Write a stream by processes that end with this call. They are a group of their own: litdata sets signals."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=lead_group) as alone:
        group = alone.submit(os.getpid).result()
        try:
            alone.submit(write_stream, folders, out, workers).result()
        except BaseException:
            with suppress(OSError):
                os.killpg(group, signal.SIGKILL)
            raise


def lead_group() -> None:
    """Begin a process group that ends with this process's parent."""
    os.setsid()
    end_with_parent(partial(os.killpg, 0, signal.SIGKILL))


@contextmanager
def drafted(out: str) -> Iterator[str]:
    """Where to write a stream: the URL, or within the folder, to be moved into it when all is there, else removed."""
    if "://" in out:
        yield out
        return
    Path(out).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=out) as draft:
        yield draft
        for part in sorted(Path(draft).iterdir(), key=lambda part: part.name == MANIFEST):
            part.rename(Path(out) / part.name)


def read_whole(file: BinaryIO) -> bytes:
    return file.read()


def write_items(read: Any, inputs: Sequence[Any], place: str, workers: int) -> None:
    litdata = import_litdata()
    litdata.optimize(
        read,
        inputs,
        place,
        chunk_bytes=CHUNK,
        num_workers=min(workers, len(inputs)),
        reorder_files=False,
        keep_data_ordered=True,
        mode="overwrite",
        verbose=False,
    )


def read_stream(root: str) -> tuple[tuple[str, ...], list[StreamImages], tuple[str, ...]]:
    """The classes, the images of the training split and of the validation split, if there is one, and what is unusual.

    Raises:
        ValueError: no stream there.
    """
    root = root if "://" in root else str(Path(root).expanduser())
    try:
        manifest = parse_json(bytes(open_items(f"{root}/{MANIFEST}")[0]))
        splits = {name: (split["labels"], Scan.from_dict(split["scan"])) for name, split in manifest["splits"].items()}
        classes, notes = tuple(manifest["classes"]), tuple(map(show_name, manifest.get("notes", ())))
    except Exception as error:  # noqa: BLE001 - storage fails in every way: no such place, no right to it, not ours
        raise ValueError(show_name(f"no stream of images at {root}: {' '.join(str(error).split())}")) from None
    bits = max(scan.bits for _, scan in splits.values())
    return classes, [StreamImages(f"{root}/{name}", *found, bits) for name, found in splits.items()], notes


def open_items(place: str) -> Any:
    """Raises a ValueError where they are stored as anything but bytes: litdata would unpickle what says that it is."""
    litdata = import_litdata()
    if "://" not in place:
        for file in Path(place).iterdir():
            check_regular(file.stat().st_mode, file)  # litdata waits for pipes
    items = litdata.StreamingDataset(place)
    stored = parse_json(read_regular(Path(items.input_dir.path) / "index.json"))["config"]["data_format"]
    if stored != ["bytes"]:
        raise ValueError(show_name(f"{place} is not a stream that prepare wrote; its items are stored as {stored}"))
    return items


def import_litdata() -> Any:
    """Raises a ValueError where it is not installed."""
    try:
        import litdata
    except ImportError:
        raise ValueError("streams of images need litdata: pip install -e '.[data]'") from None
    return litdata
