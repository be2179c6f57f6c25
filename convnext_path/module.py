"""One LightningModule for every rung: a network of flags, trained by a recipe."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, WeightAveraging
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import get_ema_avg_fn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy
from torchvision.transforms import v2

from convnext_path.data.module import Draw, mix_seed
from convnext_path.frozen import Frozen
from convnext_path.networks.designs import Design, Size, restore_design, restore_size
from convnext_path.networks.flags import RESNET50
from convnext_path.networks.registry import make_network
from convnext_path.processes import rank_and_size
from convnext_path.recipe import ENHANCED, Recipe

#: Names of what does not decay though it has several dimensions: positions, a class token, attention's scales, layer
#: scale, and as released the network that tells Swin V2's relative positions; ours, then torchvision's and timm's.
NOT_DECAYED = {"places", "table", "token", "log_scale", "position"} | {
    *("pos_embedding", "relative_position_bias_table", "class_token", "logit_scale", "layer_scale", "cpb_mlp"),
    *("pos_embed", "cls_token", "gamma"),
}

Config = TypeVar("Config", bound=Frozen)


class PathModule(pl.LightningModule):
    """A LightningModule that trains a network of given flags by a given recipe.

    It logs ``train/loss``, ``val/loss``, ``val/top1``, ``val/top5`` and ``lr``. Accuracies are shares between 0 and 1.
    With fewer than five classes, ``val/top5`` counts all of them.

    Args:
        flags, scale, recipe: values, or the dicts that their ``to_dict`` returns, as in checkpoints.
        num_classes, in_channels: number of classes, and of channels of the images.
        seed: makes each training step reproducible by (seed, step); None uses torch's generator as it is.
        channels_last: whether network and images use the channels-last memory layout.
        image_size: height and width of the images in pixels. Attention windows and positions depend on it.

    Raises:
        ValueError: a value that flags, scale, recipe or network do not accept.
    """

    def __init__(
        self,
        flags: Design | Mapping[str, Any],
        scale: Size | Mapping[str, Any] = RESNET50,
        recipe: Recipe | Mapping[str, Any] = ENHANCED,
        num_classes: int = 1000,
        in_channels: int = 3,
        seed: int | None = None,
        channels_last: bool = True,
        image_size: int = 224,
    ) -> None:
        super().__init__()
        flags, scale, recipe = restore_design(flags), restore_size(scale), restore(Recipe, recipe)
        self.recipe, self.seed, self.num_classes = recipe, seed, num_classes
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        # Plain dicts, so that a checkpoint loads without trusting any class in it.
        self.save_hyperparameters(
            {
                "flags": flags.to_dict(),
                "scale": scale.to_dict(),
                "recipe": recipe.to_dict(),
                "num_classes": num_classes,
                "in_channels": in_channels,
                "seed": seed,
                "channels_last": channels_last,
                "image_size": image_size,
            }
        )
        net = make_network(flags, scale, recipe, num_classes, in_channels, image_size)
        self.net = net.to(memory_format=self.memory_format)
        self.loss = MeanMetric(nan_strategy="disable")  # over images, of which processes may have unequal parts
        self.top1 = MulticlassAccuracy(num_classes, top_k=1, average="micro")
        self.top5 = MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro")
        mixes = [(v2.MixUp, recipe.mixup), (v2.CutMix, recipe.cutmix)]
        self.mixes = [mix(alpha=alpha, num_classes=num_classes) for mix, alpha in mixes if alpha]

    def forward(self, images: Tensor) -> Tensor:
        """Logits of (N, num_classes) for images of (N, in_channels, H, W)."""
        logits: Tensor = self.net(images.contiguous(memory_format=self.memory_format))
        return logits

    def configure_callbacks(self) -> list[Callback]:
        """The callback that averages the weights, if the recipe has ``ema``."""
        return [] if self.recipe.ema is None else [WeightAveraging(avg_fn=average_floats(self.recipe.ema))]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.seed is not None:
            batches = self.trainer.fit_loop.epoch_loop.total_batch_idx  # over all epochs
            torch.manual_seed(mix_seed(Draw.STEP, self.seed, batches))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        if self.mixes:
            mix = self.mixes[int(torch.randint(len(self.mixes), ()))]
            images, labels = mix(images, labels)  # labels: N, num_classes; each image with the one before
            _, size = rank_and_size()
            images, labels = images[size > 1 :], labels[size > 1 :]  # without the last of another process's part
        loss = F.cross_entropy(self(images), labels, label_smoothing=self.recipe.label_smoothing)
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(images))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Logits of (N, num_classes)."""
        images, labels = batch
        logits, losses = self.validation_losses(images, labels)
        self.loss.update(losses)
        for metric in (self.top1, self.top5):
            metric.update(logits, labels)
        metrics = {"val/loss": self.loss, "val/top1": self.top1, "val/top5": self.top5}
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=len(images))
        return logits

    def validation_losses(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of (N, num_classes) and the loss of each image, (N). No label smoothing, to compare recipes."""
        logits: Tensor = self(images)
        return logits, F.cross_entropy(logits, labels, reduction="none")

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.net, self.recipe, self.trainer.accumulate_grad_batches)
        steps = self.trainer.estimated_stepping_batches / self.recipe.epochs  # in an epoch
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.recipe.lr_at(step / steps) / self.recipe.peak_lr
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_epoch_end(self) -> None:
        self.log("lr", self.optimizers().param_groups[0]["lr"], sync_dist=True)  # type: ignore[union-attr]


def average_floats(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """An exponential moving average; whole numbers, which are counts and places, are taken as they are."""
    average = get_ema_avg_fn(decay)  # type: ignore[no-untyped-call]
    return lambda old, new, count: average(old, new, count) if old.is_floating_point() else new


def restore(kind: type[Config], value: Config | Mapping[str, Any]) -> Config:
    """A frozen value, or the one that its dict stands for."""
    return value if isinstance(value, kind) else kind.from_dict(cast(Mapping[str, Any], value))


def make_optimizer(net: nn.Module, recipe: Recipe, batches: int = 1) -> torch.optim.Optimizer:
    """The recipe's, at its peak learning rate for steps that see so many batches."""
    groups, lr = weight_decay_groups(net, recipe), recipe.peak_lr * batches
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr, momentum=0.9, fused=True)
    return torch.optim.AdamW(groups, lr, betas=(0.9, 0.999), fused=True)


def weight_decay_groups(net: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters for the optimizer: norms, biases, layer scales, places apart, without decay unless ``decay_all``."""
    apart = {id(p) for name, p in net.named_parameters() if p.ndim == 1 or NOT_DECAYED & {*name.split(".")}}
    matrices = [p for p in net.parameters() if id(p) not in apart]
    others = [p for p in net.parameters() if id(p) in apart]
    decay = recipe.weight_decay
    return [
        {"params": matrices, "weight_decay": decay},
        {"params": others, "weight_decay": decay if recipe.decay_all else 0.0},
    ]
