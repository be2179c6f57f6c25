"""What a training gives in its first steps, kept with its record: other code may prove by it that it gives the same."""

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, WeightAveraging
from torch import Tensor, nn

from ablations.study.origin import Fingerprint, Sketch
from convnext_path import PathModule
from convnext_path.processes import average

KEPT = (
    "losses",
    "validation",
    "rates",
    "sketches",
    "weights",
    "optimizer",
)  # by checkpoints, since steps may take epochs
STEPS = 5  # of the optimizer; the very first has a learning rate of 0 where there is a warm-up
IMAGES = 64  # of the validation batch, at most


class EnoughError(Exception):
    """The first steps are over, and the rest of the training is not asked for."""


class FirstSteps(Callback):
    """Takes a training's fingerprint, and leaves the training as it is; ``stop``: raises EnoughError once it has it."""

    def __init__(self, stop: bool = False) -> None:
        self.stop = stop
        self.losses, self.validation, self.rates = list[float](), list[float](), list[float]()
        self.sketches = list[dict[str, Any]]()
        self.weights, self.optimizer = "", ""

    @property
    def fingerprint(self) -> Fingerprint:
        """Once a training has ended, or its first steps have."""
        facts = tuple(self.losses), self.weights, tuple(self.validation), tuple(self.rates), self.optimizer
        return Fingerprint(*facts, tuple(map(Sketch.from_dict, self.sketches)))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain values: the steps may be more than an epoch has."""
        return {name: getattr(self, name) for name in KEPT}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step:
            return  # it goes on from a checkpoint
        assert isinstance(pl_module, PathModule)
        self.rates = list_rates(trainer)
        self.optimizer = describe_optimizer(trainer.optimizers[0])
        self.note(sketch("initial weights", pl_module.net.parameters()))
        self.validate(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.weights:
            return
        if not self.losses:
            self.note(sketch("training images", [batch[0][:IMAGES]]))
        self.losses.append(float(average(outputs["loss"].detach())))
        if trainer.global_step >= STEPS:
            self.finish(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.weights:
            self.finish(trainer, pl_module)

    def finish(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        averages = [c._average_model for c in callbacks if isinstance(c, WeightAveraging)]
        assert isinstance(pl_module, PathModule)
        self.weights = hash_weights(pl_module.net, *filter(None, averages))
        self.validate(trainer, pl_module)
        if self.stop:
            raise EnoughError

    def validate(self, trainer: pl.Trainer, module: PathModule) -> None:
        """Take the mean loss of the first validation images, by the network as it is; the first time, sketch them."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        batch = data.first_validation(IMAGES)
        images, labels = (part.to(module.device) for part in trainer.precision_plugin.convert_input(batch))
        module.eval()
        eager = torch.compiler.set_stance("force_eager")  # a compiled network is compiled for training's batches
        with torch.no_grad(), eager, trainer.precision_plugin.val_step_context():
            logits, losses = module.validation_losses(images, labels)
        module.train()
        if not self.validation:
            self.note(sketch("validation images", [images]))
            self.note(sketch("initial answers", [logits]))
        self.validation.append(float(losses.double().mean()))

    def note(self, seen: Sketch) -> None:
        self.sketches.append(seen.to_dict())


def list_rates(trainer: pl.Trainer) -> list[float]:
    """The learning rates that the schedule will come to at the end of each epoch."""
    schedule: Any = trainer.lr_scheduler_configs[0].scheduler
    epochs = trainer.max_epochs or 0
    steps = int(trainer.estimated_stepping_batches) // epochs
    return [schedule.base_lrs[0] * schedule.lr_lambdas[0](steps * done) for done in range(1, epochs + 1)]


def describe_optimizer(optimizer: torch.optim.Optimizer) -> str:
    """Its settings that numbers hang on: "AdamW: betas (0.9, 0.999), ..., 21 tensors; ..."."""
    return f"{type(optimizer).__name__}: {'; '.join(map(describe_group, optimizer.param_groups))}"


def describe_group(group: dict[str, Any]) -> str:
    numbers = {name: value for name, value in sorted(group.items()) if type(value) in (int, float, tuple)}
    settings = (f"{name} {value}" for name, value in numbers.items() if name != "lr")  # which the schedule sets
    return ", ".join((*settings, f"{len(group['params'])} tensors"))


def sketch(name: str, tensors: Iterable[Tensor]) -> Sketch:
    """Of all numbers of some tensors, one after the other."""
    count, squares, products = 0, 0.0, 0.0
    for tensor in tensors:
        values = tensor.detach().cpu().double().flatten()
        squares += float(values.square().sum())
        products += float(values @ torch.cos(torch.arange(count, count + len(values), dtype=torch.float64)))
        count += len(values)
    return Sketch(name, math.sqrt(squares / count), products / math.sqrt(count))


def hash_weights(*nets: nn.Module) -> str:
    """The SHA-256 of networks' parameters and buffers, by name and to the bit."""
    total = hashlib.sha256()
    for net in nets:
        for name, tensor in net.state_dict().items():
            total.update(name.encode())
            total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()
