"""How a network is trained: optimizer, schedule, augmentation, regularization, as one frozen value.

``original`` is the reference ResNet recipe, ``enhanced`` the paper's (Liu et al., arXiv 2201.03545v2, section
2.1 and Table 5): the first step of every ladder. The presets for CIFAR and digits keep the same parts, with
strengths that suit small images and short trainings; there both recipes train equally long, since 90 epochs in
300 still train a network, and 3 in 10 hardly do.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from convnext_path.frozen import Frozen, above, at_least, within


@dataclass(frozen=True)
class Recipe(Frozen):
    """How a network is trained: optimizer, schedule, augmentation and regularization.

    Probabilities and rates are between 0 and 1. Raises a ValueError for a number out of range.
    """

    epochs: int
    batch_size: int
    optimizer: Literal["sgd", "adamw"]  # SGD has momentum 0.9; AdamW betas 0.9, 0.999
    lr: float  # at base_batch_size; scaled linearly with the batch size
    base_batch_size: int
    weight_decay: float
    decay_all: bool  # False: no weight decay on norms, biases and layer scale
    schedule: Literal["step", "cosine"]
    init: Literal["kaiming_normal", "trunc_normal"]
    init_std: float = 0.02  # of trunc_normal
    step_epochs: float = 30.0  # of "step": the learning rate falls tenfold every so many
    warmup_epochs: float = 0.0  # of linear warm-up from 0
    min_lr: float = 0.0  # where "cosine" ends
    crop_area: float = 0.08  # the least share of the image that a random resized crop takes
    flip: float = 0.5  # probability of a horizontal flip
    randaugment: float = 0.0  # magnitude of RandAugment's two operations, 0 to 10; 0: none
    randaugment_std: float = 0.5  # deviation of the magnitude from image to image
    color_jitter: float = 0.0  # brightness, contrast and saturation, each up to this share
    erasing: float = 0.0  # probability of erasing a random rectangle
    mixup: float = 0.0  # alpha of Mixup's beta distribution; 0: none
    cutmix: float = 0.0  # alpha of CutMix's; where both are set, a coin is flipped for each batch
    label_smoothing: float = 0.0
    drop_path: float = 0.0  # stochastic depth of the last block, linear in depth
    layer_scale: float | None = None  # first value; None: no layer scale
    ema: float | None = None  # decay of a moving average of the weights, which is then validated; None: none
    crop_ratio: float = 0.875  # of validation: the center crop's share of the resized side

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("epochs", self.epochs, 1)
        at_least("batch_size", self.batch_size, 2)  # BatchNorm needs company
        at_least("base_batch_size", self.base_batch_size, 1)
        for name in ("weight_decay", "warmup_epochs", "min_lr", "randaugment_std", "mixup", "cutmix"):
            at_least(name, getattr(self, name), 0)
        for name in ("flip", "color_jitter", "erasing", "label_smoothing", "drop_path"):
            within(name, getattr(self, name), 0, 1)
        within("randaugment", self.randaugment, 0, 10)
        for name in ("lr", "init_std", "step_epochs", "crop_area", "crop_ratio"):
            above(name, getattr(self, name), 0)
        within("crop_area", self.crop_area, 0, 1)
        within("crop_ratio", self.crop_ratio, 0, 1)
        at_least("layer_scale", 0 if self.layer_scale is None else self.layer_scale, 0)
        if self.ema is not None:
            within("ema", self.ema, 0, 1)
        self._check_rates()

    def _check_rates(self) -> None:
        """Refuse numbers that are each in range, and together give no learning rate."""
        try:
            finite = all(math.isfinite(self.lr_at(share * self.epochs)) for share in (0, 0.5, 1))
        except OverflowError:
            finite = False
        if not finite:
            raise ValueError(
                f"lr {self.lr} at batch_size {self.batch_size} of base_batch_size {self.base_batch_size}, with "
                f"step_epochs {self.step_epochs}, gives no finite learning rate over {self.epochs} epochs"
            )

    @property
    def mixes(self) -> bool:
        """Whether Mixup or CutMix mixes the images."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def peak_lr(self) -> float:
        """The learning rate scaled to the batch size (Goyal et al., arXiv 1706.02677)."""
        return self.lr * self.batch_size / self.base_batch_size

    def lr_at(self, epoch: float) -> float:
        """The learning rate after ``epoch`` epochs; fractions of an epoch are allowed."""
        if epoch < self.warmup_epochs:
            return self.peak_lr * epoch / self.warmup_epochs
        if self.schedule == "step":
            return self.peak_lr * 0.1 ** int(epoch / self.step_epochs)
        done = min((epoch - self.warmup_epochs) / max(self.epochs - self.warmup_epochs, 1e-9), 1.0)
        low = min(self.min_lr, self.peak_lr)
        return low + (self.peak_lr - low) * (1 + math.cos(math.pi * done)) / 2

    def with_epochs(self, epochs: int) -> "Recipe":
        """The same recipe for another number of epochs. Warm-up and schedule keep their share."""
        share = epochs / self.epochs
        return replace(
            self,
            epochs=epochs,
            warmup_epochs=self.warmup_epochs * share,
            step_epochs=self.step_epochs * share,
        )


def check_batch(recipe: Recipe, found: int) -> None:
    """Raise a ValueError where there are fewer training images than a batch takes."""
    if recipe.batch_size > found:
        fits = max(found // 10, min(2, found))  # for ten training steps per epoch
        raise ValueError(
            f"the batch size is {recipe.batch_size}, but there are only {found} training images; --batch-size takes at "
            f"most {found}, and {fits} gives {found // fits} training steps per epoch"
        )


ORIGINAL = Recipe(
    epochs=90,
    batch_size=256,
    optimizer="sgd",
    lr=0.1,
    base_batch_size=256,
    weight_decay=1e-4,
    decay_all=True,
    schedule="step",
    init="kaiming_normal",
)

ENHANCED = Recipe(
    epochs=300,
    batch_size=4096,
    optimizer="adamw",
    lr=4e-3,
    base_batch_size=4096,
    weight_decay=0.05,
    decay_all=False,
    schedule="cosine",
    init="trunc_normal",
    warmup_epochs=20,
    min_lr=1e-6,
    randaugment=9,
    color_jitter=0.4,
    erasing=0.25,
    mixup=0.8,
    cutmix=1.0,
    label_smoothing=0.1,
    drop_path=0.1,
    layer_scale=1e-6,
)


#: For networks that have learned before: the paper's fine-tuning (appendix A.2), without its layer-wise rates.
FINETUNE = replace(
    ENHANCED, epochs=30, batch_size=512, lr=5e-5, base_batch_size=512, weight_decay=1e-8, warmup_epochs=0
)
FINETUNE = replace(FINETUNE, color_jitter=0.0, mixup=0.0, cutmix=0.0)


def make_family(original: Recipe, enhanced: Recipe, finetune: Recipe | None = None) -> dict[str, Recipe]:
    """The recipes that rungs name; ConvNeXt-B's has five times the stochastic depth (Table 5).

    Fine-tuning on few images: the enhanced recipe at a rate that keeps what was learned, and no mixing of images.
    """
    enhanced_b = replace(enhanced, drop_path=5 * enhanced.drop_path)
    finetune = finetune or replace(enhanced, lr=1e-4 * enhanced.base_batch_size / 128, mixup=0.0, cutmix=0.0)
    return {"original": original, "enhanced": enhanced, "enhanced_b": enhanced_b, "finetune": finetune}


#: Families of recipes by the size of what they train on.
RECIPES: dict[str, dict[str, Recipe]] = {
    "imagenet": make_family(ORIGINAL, ENHANCED, FINETUNE),
    "cifar": make_family(
        replace(ORIGINAL.with_epochs(30), batch_size=128, weight_decay=5e-4, crop_area=0.4, crop_ratio=1.0),
        replace(
            ENHANCED.with_epochs(30),
            batch_size=128,
            lr=4e-3,
            base_batch_size=128,
            init_std=0.04,
            crop_area=0.4,
            randaugment=3,
            color_jitter=0.1,
            erasing=0.1,
            mixup=0.2,
            cutmix=0.2,
            drop_path=0.02,
            layer_scale=0.1,
            crop_ratio=1.0,
        ),
    ),
    "digits": make_family(
        replace(ORIGINAL.with_epochs(5), batch_size=64, crop_area=0.6, flip=0.0, crop_ratio=1.0),
        replace(
            ENHANCED.with_epochs(5),
            batch_size=64,
            lr=2e-3,
            base_batch_size=64,
            init_std=0.04,
            crop_area=0.6,
            flip=0.0,  # a mirrored 2 is no 2
            randaugment=2,
            color_jitter=0.0,  # they are gray
            erasing=0.05,
            mixup=0.1,
            cutmix=0.1,
            drop_path=0.02,
            layer_scale=0.1,
            crop_ratio=1.0,
        ),
    ),
}
