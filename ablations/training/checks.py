"""What a plan must not ask for: found before any work, as one sentence."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from lightning_fabric.connector import _convert_precision_to_unified_args
from pytorch_lightning import Trainer

from ablations.study.checkpoints import is_damaged
from ablations.study.folder import StudyFolder
from ablations.study.limits import check_parts, check_sides, check_steps, check_terms
from ablations.study.origin import Origin
from ablations.study.trial import Plan, Seen, Trial
from ablations.training.costs import check_peers
from ablations.training.provenance import origin
from ablations.training.run import make_module
from ablations.training.seen import describe_splits
from ablations.training.trainer import COUNTED, count_batches, count_processes, make_trainer, quiet_lightning
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


@quiet_lightning()
def check_trainer(trial: Trial) -> Trainer:
    """The trial's trainer on this machine. Raises a ValueError where Lightning has none for its options."""
    try:
        trainer = make_trainer(trial)
    except Exception as error:  # noqa: BLE001 - of as many kinds as there are options
        given = ", ".join(f"--trainer.{name} {value}" for name, value in trial.trainer)
        raise ValueError(f"{given or '--trainer'}: {' '.join(str(error).split())}") from None
    check_precision(trainer, dict(trial.trainer))
    return trainer


def check_precision(trainer: Trainer, options: Mapping[str, object]) -> None:
    """Refuse a precision in which Lightning would silently take another, or in which no step can be taken."""
    asked = options.get("precision")
    if asked is not None and (made := trainer.precision) != _convert_precision_to_unified_args(asked):  # type: ignore[arg-type]
        device = trainer.strategy.root_device.type
        raise ValueError(
            f"--trainer.precision {asked} does not work on {device}, where Lightning trains in {made}; choose that, "
            "or 32-true"
        )
    scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
    if scaled and options.get("gradient_clip_val") is not None:
        raise ValueError(
            f"--trainer.gradient_clip_val does not work with --trainer.precision {asked}, whose gradients are scaled "
            "inside the optimizer's step; it works with bf16-mixed and 32-true"
        )


def check_epochs(plan: Plan, images: Seen) -> None:
    """Refuse options that leave an epoch without a step or a validation; Lightning has the last word.

    Raises:
        ValueError: which option, and what it takes.
    """
    check_steps(plan, images)
    options = tuple((name, value) for name, value in plan.trainer if name in COUNTED)
    for trial in {trial.recipe: replace(trial, trainer=options) for trial in plan.trials()}.values() if options else ():
        try:
            count_batches(replace(trial, trainer=(*options, ("accelerator", "cpu"))), images.train, images.val)
        except Exception as error:  # noqa: BLE001 - whatever it says, before anything is written
            raise ValueError(f"--trainer: {' '.join(str(error).split())}") from None


def check_alone(plan: Plan, option: str) -> None:
    """Refuse trials that one machine cannot train by itself."""
    _, nodes = count_processes(plan.trials()[0])
    if nodes > 1:
        raise ValueError(f"a trial of this study needs {nodes} nodes, but {option} uses one")


def check_plan(plan: Plan) -> Origin:
    """Find what would fail only once trials run: kernels, data, image side, batch size, trainer; return their origin.

    Raises:
        ValueError: what is wrong, and what is allowed.
    """
    chosen()
    check_terms(plan)
    trials = {trial.recipe: trial for trial in plan.trials()}
    for trial in trials.values():
        with watched():
            splits = PathData(trial.data, trial.recipe).splits
    check_epochs(plan, describe_splits(splits))
    check_sides(plan, splits.image_size)
    check_peers(plan, splits.num_classes, splits.in_channels, splits.image_size)
    trainer = check_trainer(next(iter(trials.values())))
    check_parts(trials.values(), trainer.num_devices * trainer.num_nodes, len(splits.val_indices))
    return origin(trainer.strategy.root_device, splits.digest, plan.threads)
