"""The road from ResNet to ConvNeXt: one network with a flag per design step, its ladders, costs, recipes and training.

Designs, ladders, recipes and costs are plain values. Building or training a network needs torch. Torch takes seconds
to load, so it is loaded at the first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from convnext_path.costs import Cost
from convnext_path.data.selection import Data
from convnext_path.ladder import LADDERS, Rung
from convnext_path.networks.flags import CONVNEXT, NANO, RESNET50, RESNET200, SCALES, Flags, Scale
from convnext_path.recipe import RECIPES, Recipe

if TYPE_CHECKING:
    from convnext_path.data.module import PathData
    from convnext_path.module import PathModule
    from convnext_path.networks.path import PathNet
    from convnext_path.tracing import cost

__all__ = [
    "CONVNEXT",
    "LADDERS",
    "NANO",
    "RECIPES",
    "RESNET50",
    "RESNET200",
    "SCALES",
    "Cost",
    "Data",
    "Flags",
    "PathData",
    "PathModule",
    "PathNet",
    "Recipe",
    "Rung",
    "Scale",
    "cost",
]

#: Public names that need torch, and the module that each is in.
LATE = {"PathData": "data.module", "PathModule": "module", "PathNet": "networks.path", "cost": "tracing"}

if not TYPE_CHECKING:  # where it would allow any name

    def __getattr__(name: str) -> object:
        """Import a late name when it is first asked for (PEP 562)."""
        if name not in LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(f"{__name__}.{LATE[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *LATE})
