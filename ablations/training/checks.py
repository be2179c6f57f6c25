"""What a plan must not ask for: found before any work, as one sentence."""

from collections.abc import Iterable
from pathlib import Path

from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer

from ablations.study.checkpoints import is_damaged
from ablations.study.folder import StudyFolder
from ablations.study.origin import Origin
from ablations.study.trial import Plan, Trial
from ablations.training.costs import network_cost
from ablations.training.provenance import origin
from ablations.training.run import make_module
from ablations.training.trainer import count_processes, make_trainer
from convnext_path.data.datasets import open_data
from convnext_path.data.module import PathData
from convnext_path.kernels.build import chosen
from convnext_path.networks.peer_names import PeerFlags


def check_sides(plan: Plan, image_size: int) -> None:
    """Refuse images that are too small for a rung."""
    for rung in plan.rungs:
        least = rung.flags.min_image_size
        if image_size < least:
            raise ValueError(f"image side {image_size} is too small for rung {rung.name}, which needs {least}")


def check_peers(plan: Plan, num_classes: int, in_channels: int, image_size: int) -> None:
    """Make other packages' networks once: they alone know which images and classes suit them."""
    for trial in plan.trials()[: len(plan.rungs)]:
        if isinstance(trial.flags, PeerFlags):
            try:
                network_cost(trial, num_classes, in_channels, image_size)
            except Exception as error:  # noqa: BLE001 - of as many kinds as there are networks
                told = " ".join(str(error).split())
                raise ValueError(f"{trial.rung} cannot take images of {image_size} px: {told[:300]}") from None


def check_weights(trials: Iterable[Trial]) -> None:
    """Make the networks once that begin with weights: these are fetched now, or refused."""
    for trial in {trial.rung: trial for trial in trials}.values():
        if isinstance(trial.flags, PeerFlags) and trial.flags.weights is not None:
            make_module(trial, open_data(trial.data))


def check_files(folder: StudyFolder) -> dict[Path, str]:
    """What is wrong with any file of a study: a record, a checkpoint, answers or weights that are kept."""
    _, damaged = folder.read()
    checkpoints = {file: "is damaged" for file in folder.checkpoints() if is_damaged(file)}
    return damaged | checkpoints | folder.find_changed()


def check_parts(trials: Iterable[Trial], processes: int, validated: int) -> None:
    """Refuse batches that processes could not share. Each has a part as large, of two images at least (BatchNorm)."""
    if validated < processes:
        raise ValueError(f"{validated} images to validate cannot be shared by {processes} processes")
    for trial in trials:
        batch = trial.recipe.batch_size
        if processes > 1 and (batch % processes or batch < 2 * processes):
            raise ValueError(
                f"a batch of {batch} cannot be shared by {processes} processes (--trainer.devices x .num_nodes); "
                f"--batch-size takes {2 * processes} or another multiple of {processes}"
            )


def check_trainer(trial: Trial) -> Trainer:
    """The trial's trainer on this machine. Raises a ValueError where Lightning has none for its options."""
    try:
        return make_trainer(trial)
    except (MisconfigurationException, ImportError, TypeError, OverflowError) as error:
        raise ValueError(f"--trainer: {error}") from None


def check_alone(plan: Plan, option: str) -> None:
    """Refuse trials that one machine cannot train by itself."""
    _, nodes = count_processes(plan.trials()[0])
    if nodes > 1:
        raise ValueError(f"a trial of this study takes {nodes} nodes, which {option} cannot have")


def check_plan(plan: Plan) -> Origin:
    """Find what would fail only once trials run: kernels, data, image side, batch size, trainer; return their origin.

    Raises:
        ValueError: what is wrong, and what is allowed.
    """
    chosen()
    trials = {trial.recipe: trial for trial in plan.trials()}
    for trial in trials.values():
        splits = PathData(trial.data, trial.recipe).splits
    check_sides(plan, splits.image_size)
    check_peers(plan, splits.num_classes, splits.in_channels, splits.image_size)
    trainer = check_trainer(next(iter(trials.values())))
    check_parts(trials.values(), trainer.num_devices * trainer.num_nodes, len(splits.val_indices))
    return origin(trainer.strategy.root_device, splits.digest, plan.threads)
