"""The checkpoints in a folder, by their names alone: how far each is, which is the last whole one."""

from pathlib import Path

from convnext_path.files import digest

KEPT = 2  # epochs: the last one, and the one before in case the last is damaged


def is_damaged(file: Path) -> bool:
    """Whether a checkpoint is not what its name's digest says."""
    return digest(file.read_bytes()) != file.stem.rpartition("-")[2]


def find_checkpoint(folder: Path) -> tuple[Path | None, list[Path]]:
    """The last whole checkpoint in ``folder`` (None: there is none), and the damaged ones after it."""
    damaged: list[Path] = []
    for file in sorted(folder.glob("*.ckpt"), reverse=True):
        if not is_damaged(file):
            return file, damaged
        damaged.append(file)
    return None, damaged


def epochs_done(file: Path) -> int:
    """How many epochs a checkpoint stands for."""
    return int(file.stem.partition("-")[0])
