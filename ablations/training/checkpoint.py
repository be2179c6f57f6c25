"""Checkpoints that a trial goes on from: one an epoch, whole, with a digest in the name, loaded as plain tensors.

Lightning's own are atomic only where TMPDIR lies on the same file system, load a flipped bit without a word,
and trust the pickle in them.
"""

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn

from ablations.study.checkpoints import KEPT, is_damaged, list_checkpoints
from convnext_path.files import digest, write_whole


class SafeCheckpoints(TorchCheckpointIO):
    """Writes ``NAME.ckpt`` as ``NAME-DIGEST.ckpt``; reads only files that have kept their digest."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint and clear all but the last. Raises an OSError where it cannot be written."""
        content, path = pack(checkpoint), Path(path)
        path.parent.mkdir(exist_ok=True)  # in a folder that is there, unless its study was moved meanwhile
        write_whole(path.with_stem(f"{path.stem}-{digest(content)}"), content, durable=False)
        for old in list_checkpoints(path.parent)[:-KEPT]:
            old.unlink()

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Tensors and plain values; nothing in the file is run. Raises a ValueError where it holds anything else."""
        if is_damaged(Path(path)):
            raise ValueError(f"{path} is damaged")
        try:
            checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError:
            raise ValueError(f"{path} holds more than tensors and plain values") from None
        return checkpoint


class KeepEpochs(Checkpoint):
    """Saves a checkpoint into ``folder`` at the end of each epoch but the last, which the record follows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        done = trainer.current_epoch + 1
        if done < (trainer.max_epochs or 0):
            trainer.save_checkpoint(self.folder / f"{done:05d}.ckpt")


def pack(content: Any) -> bytes:
    """Tensors and plain values as torch.load gives them back."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def pack_weights(net: nn.Module) -> bytes:
    """A network's parameters and buffers as torch.load gives them back, on the CPU whatever device they are on."""
    state = net.state_dict()
    tensors = OrderedDict((name, tensor.cpu()) for name, tensor in state.items())
    tensors._metadata = getattr(state, "_metadata", {})  # type: ignore[attr-defined]  # versions, which some read
    return pack(tensors)
