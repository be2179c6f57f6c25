"""What a benchmark is asked to measure, in plain values."""

from dataclasses import dataclass

from ablations.fields import Options, option
from convnext_path import LADDERS


@dataclass(frozen=True, kw_only=True)
class BenchRequest(Options):
    """Networks of a ladder, and how they are measured. Raises a ValueError for an unknown ladder."""

    ladder: str = option("convnext-t", f"one of {', '.join(LADDERS)}", ("ladder", LADDERS))
    rungs: tuple[str, ...] | None = option(None, "only these, by name (default: all)", form="NAME,...")
    against: tuple[str, ...] = option(
        ("torchvision", "timm"), "peers, where they have the same network; or none", form="NAME,..."
    )
    device: str | None = option(None, "cpu, cuda or cuda:N (default: a GPU if there is one)")
    precision: tuple[str, ...] = option(("fp32", "bf16"), "bf16: autocast over fp32 weights", form="NAME,...")
    image_size: int = option(224, "side in pixels")
    batch_size: int = option(32, "of training and inference")
    repeats: int = option(5, "rounds, in which all take turns; the median counts")
    seconds: float = option(1.0, "that each turn takes at least")
    compile: bool = option(False, "compile our networks too, as the peers' are")
