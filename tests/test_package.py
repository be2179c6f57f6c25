import subprocess
import sys

import pytest

import convnext_path
from convnext_path.networks.path import PathNet


def test_the_package_comes_without_the_counter_or_what_studies_it() -> None:
    code = "from convnext_path import *; import sys; print({'ablations', 'fvcore', 'wandb'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"set()"


def test_late_names_are_public_like_the_others() -> None:
    assert convnext_path.PathNet is PathNet
    assert callable(convnext_path.cost)
    assert set(convnext_path.LATE) < set(convnext_path.__all__) <= set(dir(convnext_path))
    with pytest.raises(AttributeError, match="module 'convnext_path' has no attribute 'PathNat'"):
        convnext_path.PathNat  # noqa: B018
