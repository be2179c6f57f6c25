"""Options of the Lightning trainer that a plan may set; all others are the driver's own, or make no sense here."""

import re
from dataclasses import dataclass, fields
from functools import partial
from typing import ClassVar, Literal, get_args

from ablations.fields import Options, option
from convnext_path.frozen import above, choose, show, within

STRATEGIES = ("auto", "ddp")  # others cut a network into pieces, or start processes that we start

Precision = (
    Literal[64, 32, 16]
    | Literal["transformer-engine", "transformer-engine-float16"]
    | Literal["16-true", "16-mixed", "bf16-true", "bf16-mixed", "32-true", "64-true"]
    | Literal["64", "32", "16", "bf16"]
)

PRECISIONS = tuple(dict.fromkeys(str(word) for part in get_args(Precision) for word in get_args(part)))
ALGORITHMS = ("norm", "value")

MOST = 10**9  # beyond it, what Lightning makes of a number would overflow
ONE = partial(within, low=1, high=MOST)  # Lightning takes less, and then fails or does nothing of use


def check_positive(what: str, value: float) -> None:
    """Raise a ValueError unless ``value`` is above 0 and at most :data:`MOST`."""
    above(what, value, 0)
    within(what, value, 0, MOST)


def share_or_number(what: str, value: float) -> None:
    """Raise a ValueError unless ``value`` is a share, above 0 and at most 1, or a whole number of batches."""
    check_positive(what, value)
    if value > 1 and value % 1:
        raise ValueError(f"{what} must be a share up to 1.0 or a whole number of batches, got {value!r}")


def check_time(what: str, text: str) -> None:
    """Raise a ValueError unless ``text`` is a time above 0 and below 1000 days as Lightning takes it."""
    if not re.fullmatch(r"\d{1,3}(:\d{1,2}){3}", text, re.ASCII) or not re.search("[1-9]", text):
        raise ValueError(f"{what} takes a time above 0 as DD:HH:MM:SS, got {text!r}")


@dataclass(frozen=True, repr=False)
class TrainerOptions(Options):
    """Options of Lightning's trainer, with Lightning's names, types and meanings.

    Raises:
        ValueError: a value that an option does not take.
    """

    prefix: ClassVar[str] = "trainer."

    accelerator: str = option("auto", "type of device: auto, cpu, gpu or another that Lightning supports")
    strategy: str = option(
        "auto",
        "how the processes of a trial share each batch: auto or ddp (data parallel)",
        ("--trainer.strategy", STRATEGIES),
    )
    devices: tuple[int, ...] | str | int = option(
        1,
        "devices per trial and node: a number, a list such as [0,1], or auto",
        check=partial(within, low=-1, high=MOST),
    )
    num_nodes: int = option(1, "nodes (machines) per trial", check=ONE)
    precision: Precision | None = option(None, "numerical precision, such as bf16-mixed (default: 32-true)")
    limit_train_batches: int | float | None = option(
        None, "train on at most N batches per epoch, or on a share of them (default: all)", check=share_or_number
    )
    limit_val_batches: int | float | None = option(
        None, "validate on at most N batches, or on a share of them (default: all)", check=share_or_number
    )
    val_check_interval: int | float | str | None = option(
        None,
        "validate after N batches, after a share of an epoch, or after a time as DD:HH:MM:SS (default: 1.0)",
        check=share_or_number,
    )
    check_val_every_n_epoch: int = option(1, "validate once every N epochs", check=ONE)
    num_sanity_val_steps: int = option(
        0, "validation batches to try before training begins; -1: all", check=partial(within, low=-1, high=MOST)
    )
    log_every_n_steps: int | None = option(
        None,
        "training steps between two entries in Lightning's log (default: 50)",
        check=partial(within, low=0, high=MOST),
    )
    accumulate_grad_batches: int = option(1, "batches whose gradients are combined for one optimizer step", check=ONE)
    gradient_clip_val: int | float | None = option(
        None, "clip gradients at this value (default: no clipping)", check=check_positive
    )
    gradient_clip_algorithm: str | None = option(
        None,
        "clip gradients by norm or by value (default: norm)",
        ("--trainer.gradient_clip_algorithm", ALGORITHMS),
    )
    deterministic: bool | Literal["warn"] | None = option(
        None, "use only operations that are reproducible bit for bit: true, false or warn (default: false)"
    )
    benchmark: bool | None = option(None, "let cuDNN try its algorithms and use the fastest (default: false)")
    inference_mode: bool = option(True, "validate under torch.inference_mode; if false, under torch.no_grad")
    detect_anomaly: bool = option(False, "stop where autograd finds a NaN; slow")
    sync_batchnorm: bool = option(False, "compute BatchNorm's statistics over all processes of a trial")

    def __post_init__(self) -> None:
        if self.precision is not None:
            choose("--trainer.precision", show(self.precision).strip("'"), PRECISIONS)
        if isinstance(self.val_check_interval, str):
            check_time("--trainer.val_check_interval", self.val_check_interval)
        super().__post_init__()
        if self.gradient_clip_algorithm is not None and self.gradient_clip_val is None:
            raise ValueError("--trainer.gradient_clip_algorithm has no effect without --trainer.gradient_clip_val")

    def chosen(self) -> dict[str, object]:
        """The options that differ from their defaults, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
