"""How a run treats its study."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from ablations.fields import Options, option
from ablations.study.places import find_folder
from ablations.study.trial import Plan
from convnext_path.frozen import choose

Mode = Literal["disabled", "offline", "online"]  # of W&B
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class Keeping(Options):
    """Where what comes of a run is kept, and what of it. Raises a ValueError for a mode that W&B does not have."""

    study: str | None = option(
        None, "folder of the study (default: results/LADDER-DATA; for compare: results/comparison-DATA)"
    )
    wandb: Mode = option(
        "offline",
        "logging to Weights & Biases (W&B): disabled, offline (kept in the study, to send later) or online",
        ("--wandb mode", MODES),
    )
    keep: bool = option(
        False,
        "keep the trained weights and the answers to the validation images. The page then shows confusion matrices, "
        "and images with answers",
    )
    join: bool = option(False, "help another run to train its study: take trials that it has not started")
    strict: bool = option(
        False,
        "also train again what was computed with different rounding: on another processor, with other kernels or "
        "threads",
    )
    keep_stale: bool = option(False, "count stale records (made by other code, versions or images) as done")
    dry_run: bool = option(False, "show the plan and an estimate of the time; do not train or write anything")

    def find_folder(self, plan: Plan) -> Path:
        """The study's: the one that is named, or one by ladder and data."""
        name = f"results/{plan.ladder}-{plan.data.title}" if self.study is None else self.study
        return find_folder(name, "--study")


def choose_sending(mode: str) -> Mode:
    """A mode in which something is sent, now or later. Raises a ValueError for another."""
    return cast(Mode, choose("--mode", mode, MODES[1:]))
