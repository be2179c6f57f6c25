import subprocess
import sys

import pytest

import convnext_path
from convnext_path.networks.path import PathNet

LIGHT = ("ladder", "recipe", "costs", "networks.flags", "networks.designs", "data.selection")
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "pytorch_lightning",
    "sklearn",
    "numpy",
    "pandas",
    "scipy",
    "matplotlib",
    "rich",
}
STRANGE = {"ablations", "fvcore", "wandb"}


def modules_after(code: str) -> set[str]:
    """What a new process has loaded, by the packages' names."""
    code += "; import sys; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return {name.partition(".")[0] for name in out.split()}


def test_plain_values_come_without_torch() -> None:
    assert not modules_after("; ".join(f"import convnext_path.{name}" for name in LIGHT)) & (HEAVY | STRANGE)


def test_the_whole_package_comes_without_the_counter_or_what_studies_it() -> None:
    assert not modules_after("from convnext_path import *") & STRANGE


def test_late_names_are_public_like_the_others() -> None:
    assert convnext_path.PathNet is PathNet
    assert callable(convnext_path.cost)
    assert set(convnext_path.LATE) < set(convnext_path.__all__) <= set(dir(convnext_path))
    with pytest.raises(AttributeError, match="module 'convnext_path' has no attribute 'PathNat'"):
        convnext_path.PathNat  # noqa: B018
