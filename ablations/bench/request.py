"""What a benchmark is asked to measure, in plain values."""

from dataclasses import dataclass

from ablations.fields import Options, option
from convnext_path import LADDERS


@dataclass(frozen=True, kw_only=True)
class BenchRequest(Options):
    """Networks of a ladder, and how they are measured. Raises a ValueError for an unknown ladder."""

    ladder: str = option("convnext-t", f"ladder whose networks are measured: {', '.join(LADDERS)}", ("ladder", LADDERS))
    rungs: tuple[str, ...] | None = option(None, "measure these rungs only (default: all)", form="NAME,...")
    against: tuple[str, ...] = option(
        ("torchvision", "timm"),
        "packages to measure beside, where they have the same network; or none",
        form="NAME,...",
    )
    device: str | None = option(None, "device: cpu, cuda or cuda:N (default: a GPU where there is one)")
    precision: tuple[str, ...] = option(
        ("fp32", "bf16"), "fp32, bf16 (autocast over fp32 weights), or both", form="NAME,..."
    )
    image_size: int = option(224, "side of the images in pixels")
    batch_size: int = option(32, "images per step, of training and of inference")
    repeats: int = option(5, "rounds in which all networks take turns; the median counts")
    seconds: float = option(1.0, "seconds that a turn takes at least")
    compile: bool = option(False, "compile our networks too, as those of the other packages are")
