"""What a benchmark is asked to measure, in plain values."""

from dataclasses import dataclass

from ablations.fields import Options, option
from convnext_path import LADDERS


@dataclass(frozen=True, kw_only=True)
class BenchRequest(Options):
    """Networks of a ladder, and how they are measured. Raises a ValueError for an unknown ladder."""

    ladder: str = option("convnext-t", f"ladder whose networks are measured: {', '.join(LADDERS)}", ("ladder", LADDERS))
    rungs: tuple[str, ...] | None = option(None, "measure only these rungs (default: all)", form="NAME,...")
    against: tuple[str, ...] = option(
        ("torchvision", "timm"),
        "packages to compare with, where they have the same network; or none",
        form="NAME,...",
    )
    device: str | None = option(None, "device: cpu, cuda or cuda:N (default: a GPU if there is one)")
    precision: tuple[str, ...] = option(
        ("fp32", "bf16"), "fp32, bf16 (autocast; weights stay in fp32), or both", form="NAME,..."
    )
    image_size: int = option(224, "height and width of the images in pixels")
    batch_size: int = option(32, "images per step, in training and in inference")
    repeats: int = option(5, "rounds of measurement. Networks take turns in each; the median counts")
    seconds: float = option(1.0, "least duration of a turn in seconds")
    compile: bool = option(False, "also compile this project's networks, as the networks of other packages are")
