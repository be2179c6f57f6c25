"""How fast a rung trains: measured here, read from a benchmark's folder, or told by what others published of a GPU."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from ablations.bench.folder import TERMS, Rate, read_benchmark
from ablations.planning.profiles import Profile
from ablations.study.request import NOWHERE
from ablations.study.trial import Plan, Seen, Trial
from ablations.training.costs import network_cost
from convnext_path import Cost, Data, Flags
from convnext_path.counting import count_kept

START = 1.0  # seconds that a trial takes beside its steps, where that was not measured: here, on a CPU
HELD = 16  # bytes a parameter: weight, gradient and AdamW's two moments, in fp32


@dataclass(frozen=True)
class Pace:
    """What a rung takes."""

    start: float  # seconds beside its steps
    train: float  # seconds an image
    validate: float
    memory: float  # bytes at the peak, of each of its devices


@dataclass(frozen=True)
class Extent:
    """How many images there are, and what they are like."""

    train: int
    val: int
    num_classes: int
    in_channels: int = 3
    image_size: int = 32

    @property
    def seen(self) -> Seen:
        """The same, as records hold it."""
        return Seen(self.train, self.val, self.num_classes, self.image_size, self.in_channels)

    def cost(self, trial: Trial) -> Cost:
        return network_cost(trial, self.num_classes, self.in_channels, self.image_size)

    def count_kept(self, trial: Trial) -> int:
        """Elements that a training step keeps for its backward pass, of each image more."""
        ends = self.num_classes, self.in_channels, self.image_size
        return count_kept(trial.flags, trial.scale, trial.recipe, *ends)


#: Data sets whose extent is known before they are there. ImageNet: Russakovsky et al. (2015), ILSVRC 2012.
KNOWN = {
    "cifar10": Extent(50_000, 10_000, 10),
    "cifar100": Extent(50_000, 10_000, 100),
    "imagenet": Extent(1_281_167, 50_000, 1000, image_size=224),
}
#: Images/s of ResNet-50 and ConvNeXt-T in training and inference on an RTX 3090 (the same results of timm), and
#: their multiply-accumulates: how much longer one of ConvNeXt's takes, taken to be alike on other GPUs.
ENDS = {"resnet": (1218.01, 3676.35, 4.0892e9), "convnext": (819.24, 2379.50, 4.4555e9)}


def measure_extent(data: Data) -> Extent:
    """Of images that are there. Raises a ValueError where they are not."""
    from convnext_path.data.datasets import open_data

    splits = open_data(data)
    counts = len(splits.train_indices), len(splits.val_indices)
    return Extent(*counts, splits.num_classes, splits.in_channels, splits.image_size)


def known_extent(data: Data) -> Extent:
    """Of a data set that is published, as ``data`` cuts it; of other images, what is there."""
    if data.name not in KNOWN or data.root not in (None, NOWHERE):
        return measure_extent(data)
    known = KNOWN[data.name]
    train, val = known.train, known.val
    if (data.limit_train or 0) > train:
        raise ValueError(f"limit_train is {data.limit_train}, but there are {train} training images")
    if data.holdout:
        val = math.ceil(train * data.holdout)
        train -= val
    return replace(
        known, train=min(train, data.limit_train or train), val=val, image_size=data.image_size or known.image_size
    )


def count_devices(trial: Trial) -> int:
    """That a trial asks for, on whatever machines.

    Raises:
        ValueError: not a number of them.
    """
    words = [str(dict(trial.trainer).get(name, 1)) for name in ("devices", "num_nodes")]
    if not all(word.isascii() and word.isdecimal() and int(word) for word in words):
        raise ValueError(
            f"a plan needs numbers for --trainer.devices and --trainer.num_nodes, got {' and '.join(words)}"
        )
    return math.prod(map(int, words))


def first_trials(plan: Plan) -> list[Trial]:
    """One of each rung."""
    return plan.trials()[: len(plan.rungs)]


def read_paces(plan: Plan, extent: Extent, bench: Path) -> dict[str, Pace]:
    """Each rung's pace on the machine of a benchmark, scaled by multiply-accumulates to the plan's images.

    Raises:
        ValueError: no benchmark there, or one that is damaged, or lacks a rung or the precision.
        OSError: it cannot be read.
    """
    if not (bench / TERMS).is_file():
        raise ValueError(f"{bench} contains no benchmark (no {TERMS})")
    precision = "bf16" if "bf16" in str(dict(plan.trainer).get("precision")) else "fp32"
    found, paces = read_benchmark(bench), {}
    for trial in first_trials(plan):
        try:
            train, infer = (found.rates[trial.rung, precision, task] for task in ("training", "inference"))
        except KeyError as error:
            there = ", ".join(sorted({f"{task} of {rung} in {word}" for rung, word, task in found.rates}))
            rung, word, task = error.args[0]
            raise ValueError(f"{bench} has no {task} of {rung} in {word}; it has: {there or 'no rung'}") from None
        paces[trial.rung] = scale_pace(trial, extent.cost(trial), train, infer, found.batch_size)
    return paces


def scale_pace(trial: Trial, cost: Cost, train: Rate, infer: Rate, batch: int) -> Pace:
    """The pace of a benchmark's rates, from its images and batches to a trial's."""
    larger = cost.paper_macs / train.macs
    held = HELD * cost.params
    kept = larger * max(train.peak_memory - held, 0) / batch
    training, inference = (larger / rate.images_per_second for rate in (train, infer))
    return share_pace(trial, training, inference, held, kept)


def share_pace(trial: Trial, train: float, validate: float, held: float, kept: float) -> Pace:
    """From seconds and bytes of an image on one device to all that a trial takes, as if they lost no time to talk.

    ``held``: bytes beside the images.
    """
    devices = count_devices(trial)
    return Pace(START, train / devices, validate / devices, held + kept * trial.recipe.batch_size / devices)


def profile_paces(plan: Plan, extent: Extent, profile: Profile) -> dict[str, Pace]:
    """Each rung's pace on a GPU known by ResNet-50's alone: by multiply-accumulates, depthwise rungs as ConvNeXt-T's.

    Raises:
        ValueError: a plan in another precision than mixed.
    """
    if not str(dict(plan.trainer).get("precision")).endswith("-mixed"):
        raise ValueError("--profile needs mixed precision; add --precision bf16-mixed")
    return {trial.rung: profile_pace(trial, extent, profile) for trial in first_trials(plan)}


def profile_pace(trial: Trial, extent: Extent, profile: Profile) -> Pace:
    cost = extent.cost(trial)
    resnet = isinstance(trial.flags, Flags) and not trial.flags.depthwise
    train, infer, macs = ENDS["resnet" if resnet else "convnext"]
    scale = cost.paper_macs / macs * ENDS["resnet"][0] / profile.images_per_second
    kept = 2 * extent.count_kept(trial)  # bytes, if all of it is in 16 bits
    return share_pace(trial, scale / train, scale / infer, HELD * cost.params, kept)
