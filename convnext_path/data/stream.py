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
from convnext_path.words import join, mask, show_name

#: A set of one item beside the sets of images: their classes and labels, and what a scan found.
MANIFEST = "manifest"
CHUNK = "64MB"
#: How addresses begin that litdata reads and writes; ``local:`` is for its tests and ours.
READABLE = ("s3://", "gs://", "r2://", "azure://", "hf://", "local:")
WRITABLE = ("s3://", "gs://", "r2://")


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
        check_scheme(out, WRITABLE)
        import_litdata()
        from litdata.streaming.fs_provider import _get_fs_provider

        try:
            empty = _get_fs_provider(out).is_empty(out)
        except Exception as error:  # noqa: BLE001 - storage fails in every way: no such place, no right to it
            raise ValueError(tell(f"{out} cannot be reached", error)) from None
    else:
        empty = not (Path(out).exists() and any(Path(out).iterdir()))
    if not empty:
        raise ValueError(f"{show_name(out)} is not empty; choose another --out")


def check_scheme(place: str, known: tuple[str, ...]) -> None:
    """Raise a ValueError for the address of a storage that litdata does not know: it would take it for a path."""
    if "://" in place and not place.startswith(known):
        allowed = join(word for word in known if word.endswith("://"))
        raise ValueError(show_name(f"{mask(place)} is neither a folder nor an address that begins with {allowed}"))


def write_apart(folders: Folders, out: str, workers: int) -> None:
    """Write a stream by processes that end with this call. They are a group of their own: litdata sets signals.

    Raises:
        ValueError: a file is not what it was when the images were checked, or the stream cannot be written.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=lead_group) as alone:
        group = alone.submit(os.getpid).result()
        try:
            alone.submit(write_stream, folders, out, workers).result()
        except BaseException as error:
            with suppress(OSError):
                os.killpg(group, signal.SIGKILL)
            if isinstance(error, ValueError) or not isinstance(error, Exception):
                raise
            raise ValueError(tell(f"{out} cannot be written", error)) from None


def tell(what: str, error: Exception) -> str:
    """What storage could not do, and why, in a line."""
    return show_name(f"{what}: {' '.join(str(error).split()) or type(error).__name__}")


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
    check_scheme(root, READABLE)
    root = root if "://" in root else str(Path(root).expanduser())
    try:
        manifest = parse_json(bytes(open_items(f"{root}/{MANIFEST}")[0]))
        splits = {name: (split["labels"], Scan.from_dict(split["scan"])) for name, split in manifest["splits"].items()}
        classes, notes = tuple(manifest["classes"]), tuple(map(show_name, manifest.get("notes", ())))
        for name, (labels, _) in splits.items():
            check_items(f"{root}/{name}", len(labels))
    except Exception as error:  # noqa: BLE001 - storage fails in every way: no such place, no right to it, not ours
        raise ValueError(tell(f"no stream of images at {root}", error)) from None
    bits = max(scan.bits for _, scan in splits.values())
    return classes, [StreamImages(f"{root}/{name}", *found, bits) for name, found in splits.items()], notes


def check_items(place: str, count: int) -> None:
    """Raise a ValueError or an OSError where a split has not that many items, or lacks a part of one."""
    items = open_items(place)
    if len(items) != count:
        raise ValueError(f"{place} has {len(items)} images, its manifest has {count}")
    for chunk in [] if "://" in place else read_index(items)["chunks"]:
        file = Path(place) / chunk["filename"]
        if file.stat().st_size != chunk["chunk_bytes"]:
            raise ValueError(f"{file} is damaged: it has {file.stat().st_size} bytes of {chunk['chunk_bytes']}")


def read_index(items: Any) -> Any:
    """What a split's index says of its chunks; from storage it has come by now."""
    return parse_json(read_regular(Path(items.input_dir.path) / "index.json"))


def open_items(place: str) -> Any:
    """Raises a ValueError where they are stored as anything but bytes: litdata would unpickle what says that it is."""
    litdata = import_litdata()
    if "://" not in place:
        for file in Path(place).iterdir():
            check_regular(file.stat().st_mode, file)  # litdata waits for pipes
    items = litdata.StreamingDataset(place)
    stored = read_index(items)["config"]["data_format"]
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
