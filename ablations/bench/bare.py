"""A trial's training by loops and nothing else: its batches, network, optimizer and schedule, without Lightning."""

from collections.abc import Iterator
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch.optim.lr_scheduler import LambdaLR

from ablations.study.trial import Trial
from ablations.training.trainer import make_trainer
from convnext_path import PathModule
from convnext_path.data.module import Draw, EpochBatches, PathData, mix_seed
from convnext_path.module import make_optimizer


class BareModule(PathModule):
    """The same steps; nobody keeps what they log."""

    def log(self, *args: Any, **kwargs: Any) -> None: ...
    def log_dict(self, *args: Any, **kwargs: Any) -> None: ...


class BareTraining:
    """A trial on its device."""

    def __init__(self, trial: Trial, loader_workers: int = 0) -> None:
        pl.seed_everything(trial.seed, verbose=False)
        self.trial, self.trainer = trial, make_trainer(trial)
        self.device = self.trainer.strategy.root_device
        recipe, data = trial.recipe, PathData(trial.data, trial.recipe, trial.seed, loader_workers)
        shape = (data.splits.num_classes, data.splits.in_channels)
        module = BareModule(trial.flags, trial.scale, recipe, *shape, image_size=data.splits.image_size)
        self.module = module.to(self.device)
        if trial.compile:
            self.module.net.compile()
        self.train, self.val = data.train_dataloader(), data.val_dataloader()
        self.optimizer = make_optimizer(self.module.net, recipe)
        steps = len(self.train)
        self.schedule = LambdaLR(self.optimizer, lambda step: recipe.lr_at(step / steps) / recipe.peak_lr)

    def train_epoch(self, epoch: int) -> Iterator[None]:
        """A training step each time."""
        cast(EpochBatches, self.train.sampler).set_epoch(epoch)
        self.module.train()
        for number, (images, labels) in enumerate(self.train):
            torch.manual_seed(mix_seed(Draw.STEP, self.trial.seed, epoch * len(self.train) + number))
            batch = images.to(self.device), labels.to(self.device)
            with self.trainer.precision_plugin.train_step_context():
                loss = self.module.training_step(batch, number)
            torch.autograd.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            yield

    def validate(self) -> Iterator[None]:
        """A batch each time."""
        self.module.eval()
        for number, (images, labels) in enumerate(self.val):
            with torch.inference_mode(), self.trainer.precision_plugin.val_step_context():
                self.module.validation_step((images.to(self.device), labels.to(self.device)), number)
            yield
