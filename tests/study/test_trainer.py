import inspect
from dataclasses import fields
from typing import get_args, get_type_hints

import pytest
from pytorch_lightning import Trainer

from ablations.study.trainer import TrainerOptions
from ablations.training.trainer import TRAINER

#: Options of the Lightning trainer that the driver sets itself, or that make no sense here.
OURS = {
    "barebones", "callbacks", "default_root_dir", "enable_autolog_hparams", "enable_checkpointing",
    "enable_model_summary", "enable_progress_bar", "fast_dev_run", "logger", "max_epochs", "max_steps", "max_time",
    "min_epochs", "min_steps", "model_registry", "plugins", "profiler", "reload_dataloaders_every_n_epochs",
    "overfit_batches", "limit_test_batches", "limit_predict_batches", "use_distributed_sampler",
}  # fmt: skip


def test_names_and_defaults_are_lightnings() -> None:
    theirs = {name: p.default for name, p in inspect.signature(Trainer).parameters.items() if name not in OURS}
    assert {f.name: f.default for f in fields(TrainerOptions)} == theirs | TRAINER


def test_each_has_a_line_of_help() -> None:
    assert all(f.metadata["help"] and "\n" not in f.metadata["help"] for f in fields(TrainerOptions))


def test_what_is_chosen_differs_from_the_defaults() -> None:
    assert TrainerOptions().chosen() == {}
    assert TrainerOptions(devices=1, precision="bf16-mixed").chosen() == {"precision": "bf16-mixed"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "fsdp"}, "unknown --trainer.strategy 'fsdp'; allowed: auto, ddp"),
        ({"limit_val_batches": 0}, "--trainer.limit_val_batches must be above 0 and finite, got 0"),
        ({"accumulate_grad_batches": 0}, "--trainer.accumulate_grad_batches must be between 1 and 1000000000, got 0"),
        ({"num_sanity_val_steps": -2}, "--trainer.num_sanity_val_steps must be between -1 and 1000000000, got -2"),
        ({"gradient_clip_algorithm": "value"}, "gradient_clip_algorithm has no effect without .*gradient_clip_val"),
        ({"precision": 17}, "unknown --trainer.precision .17.; allowed: 64, 32, 16, "),
        ({"check_val_every_n_epoch": None}, "--trainer.check_val_every_n_epoch takes a whole number, got None"),
    ],
)
def test_values_that_lightning_takes_and_should_not(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainerOptions(**options)  # type: ignore[arg-type]


NUMBERS = [name for name, hint in get_type_hints(TrainerOptions).items() if {int, float} & {hint, *get_args(hint)}]


@pytest.mark.parametrize("number", [10**10, 10**400, 10**5000], ids=["large", "no float", "no text"])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_nothing_could_count_to_are_refused(name: str, number: int) -> None:
    with pytest.raises(ValueError, match=f"^--trainer.{name} must be between .* and 1000000000, got "):
        TrainerOptions(**{name: number})  # type: ignore[arg-type]


def test_devices_of_a_list_are_bounded_too() -> None:
    with pytest.raises(ValueError, match="--trainer.devices must be between -1 and 1000000000, got -2"):
        TrainerOptions(devices=(0, -2))
