"""The road from ResNet to ConvNeXt: a network of flags, its ladders, costs, recipes and training."""

from convnext_path.costs import Cost
from convnext_path.data.module import PathData
from convnext_path.data.selection import Data
from convnext_path.ladder import LADDERS, Rung
from convnext_path.module import PathModule
from convnext_path.networks.flags import CONVNEXT, NANO, RESNET50, RESNET200, SCALES, Flags, Scale
from convnext_path.networks.path import PathNet
from convnext_path.recipe import RECIPES, Recipe
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
