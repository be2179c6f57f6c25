"""The checkpoints in a folder, by their names alone: how far each is, which is the last whole one.

Files of other names, links and folders are no checkpoints: they are neither read nor removed.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

from convnext_path.files import digest_file, remove_drafts

KEPT = 2  # epochs: the last one, and the one before in case the last is damaged

NAME = r"\d{5,9}-[0-9a-f]{64}\.ckpt"  # epochs done, and the content's digest


def list_checkpoints(folder: Path) -> list[Path]:
    """Those in ``folder``, by epoch; none where there is no such folder. Raises an OSError."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if re.fullmatch(NAME, e.name) and e.is_file(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted((folder / name for name in names), key=lambda file: (epochs_done(file), file.name))


def clear_checkpoints(folder: Path) -> None:
    """Remove those in ``folder``, unfinished ones too, and the folder where nothing else is in it."""
    for file in list_checkpoints(folder):
        file.unlink(missing_ok=True)
    remove_drafts(folder, NAME)
    with suppress(OSError):
        folder.rmdir()


def is_damaged(file: Path) -> bool:
    """Whether a checkpoint is not what its name's digest says. Raises an OSError where it cannot be read."""
    return digest_file(file) != file.stem.rpartition("-")[2]


def find_checkpoint(folder: Path) -> tuple[Path | None, list[Path]]:
    """The last whole checkpoint in ``folder`` (None: there is none), and the damaged ones after it."""
    damaged: list[Path] = []
    for file in reversed(list_checkpoints(folder)):
        if not is_damaged(file):
            return file, damaged
        damaged.append(file)
    return None, damaged


def epochs_done(file: Path) -> int:
    """How many epochs a checkpoint stands for."""
    return int(file.stem.partition("-")[0])
