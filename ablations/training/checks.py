"""What a plan must not ask for: found before any work, as one sentence."""

from collections.abc import Iterable
from pathlib import Path

from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer

from ablations.study.checkpoints import is_damaged
from ablations.study.folder import StudyFolder
from ablations.study.limits import check_parts, check_sides
from ablations.study.origin import Origin
from ablations.study.trial import Plan, Trial
from ablations.training.costs import check_peers
from ablations.training.provenance import origin
from ablations.training.run import make_module
from ablations.training.trainer import count_processes, make_trainer
from ablations.training.watching import watched
from convnext_path.data.datasets import open_data
from convnext_path.data.module import PathData
from convnext_path.kernels.build import chosen
from convnext_path.networks.peer_names import PeerFlags


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
        with watched():
            splits = PathData(trial.data, trial.recipe).splits
    check_sides(plan, splits.image_size)
    check_peers(plan, splits.num_classes, splits.in_channels, splits.image_size)
    trainer = check_trainer(next(iter(trials.values())))
    check_parts(trials.values(), trainer.num_devices * trainer.num_nodes, len(splits.val_indices))
    return origin(trainer.strategy.root_device, splits.digest, plan.threads)
