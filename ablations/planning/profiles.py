"""The machine that a plan is for: this one, one that was benchmarked, or a GPU that others have measured."""

from dataclasses import dataclass
from functools import partial

from ablations.fields import Options, option
from convnext_path.frozen import above, within
from convnext_path.words import join


@dataclass(frozen=True)
class Profile:
    """A GPU, by what others measured of ResNet-50 on it: training, mixed precision, 224 px."""

    images_per_second: float
    memory: int  # bytes
    source: str


GIB = 2**30
NVIDIA = "NVIDIA's DeepLearningExamples, ResNet-50 v1.5 for PyTorch, container 21.03, 1 GPU"
TIMM = "timm's results, benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv"
PROFILES = {
    "rtx3090": Profile(1218, 24 * GIB, TIMM),
    "v100": Profile(1156, 32 * GIB, NVIDIA),
    "a100": Profile(2470, 80 * GIB, NVIDIA),
}


@dataclass(frozen=True, kw_only=True)
class Machine(Options):
    """Where a plan would be carried out, with how many devices, at what price.

    Raises:
        ValueError: no such GPU, a number out of range, or two machines.
    """

    bench: str | None = option(
        None, "plan for the machine of a benchmark, given by its folder (default: measure this machine now)"
    )
    profile: str | None = option(
        None,
        f"plan for a GPU with published measurements: {join(PROFILES)} (default: this machine)",
        ("--profile", PROFILES),
    )
    at_once: tuple[int, ...] = option(
        (1, 8, 64), "numbers of devices to plan for; on a CPU, numbers of trials at a time", form="N,..."
    )
    price: float | None = option(
        None,
        "price of one device per hour, in any currency (default: no prices)",
        check=partial(within, low=0, high=1e6),
    )
    memory: float | None = option(
        None, "memory of one device in GB (default: that of the machine planned for)", check=partial(above, limit=0)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bench is not None and self.profile is not None:
            raise ValueError("--profile and --bench both choose a machine; give only one")

    @property
    def is_here(self) -> bool:
        """Whether it is this one."""
        return self.bench is None and self.profile is None
