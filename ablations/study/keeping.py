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

    study: str | None = option(None, "folder of the results (default: results/LADDER-DATA, or comparison-DATA)")
    wandb: Mode = option("offline", f"one of {', '.join(MODES)}", ("--wandb mode", MODES))
    keep: bool = option(False, "weights and answers: confusions and images with answers on the page")
    join: bool = option(False, "take trials of a study that another driver trains")
    strict: bool = option(False, "train records again that other processors, kernels or settings have rounded")
    keep_stale: bool = option(False, "records of other code, versions or data count as done")
    dry_run: bool = option(False, "show the plan and the estimate, then stop")

    def find_folder(self, plan: Plan) -> Path:
        """The study's: the one that is named, or one by ladder and data."""
        name = f"results/{plan.ladder}-{plan.data.title}" if self.study is None else self.study
        return find_folder(name, "--study")


def choose_sending(mode: str) -> Mode:
    """A mode in which something is sent, now or later. Raises a ValueError for another."""
    return cast(Mode, choose("--mode", mode, MODES[1:]))
