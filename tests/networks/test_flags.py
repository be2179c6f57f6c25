from dataclasses import fields, replace

import pytest
import torch

from convnext_path import CONVNEXT, RESNET50, RESNET200, SCALES, Flags, PathNet, Scale
from tests.conftest import TINY


def test_the_twelve_steps() -> None:
    assert len(fields(Flags)) == 12
    assert all(getattr(Flags(), f.name) != getattr(CONVNEXT, f.name) for f in fields(Flags))
    assert all(f"``{f.name}`` (2." in (Flags.__doc__ or "") for f in fields(Flags))


@pytest.mark.parametrize("patchify", [False, True])
@pytest.mark.parametrize("separate", [False, True])
def test_min_image_size_is_the_smallest_that_works(patchify: bool, separate: bool) -> None:
    flags = Flags(patchify_stem=patchify, separate_downsampling=separate)
    net = PathNet(flags, TINY).eval()
    least = flags.min_image_size
    assert net(torch.zeros(1, 3, least, least)).shape == (1, 1000)
    if least > 1:
        with pytest.raises(RuntimeError):
            net(torch.zeros(1, 3, least - 1, least - 1))


def test_scales_choose() -> None:
    assert RESNET50.choose_depths(Flags()) == (3, 4, 6, 3)
    assert RESNET50.choose_depths(Flags(stage_ratio=True)) == (3, 3, 9, 3)
    widths = [RESNET200.choose_width(f) for f in (Flags(), Flags(stage_ratio=True), Flags(wider=True), CONVNEXT)]
    assert widths == [64, 84, 128, 128]


def test_published_designs() -> None:
    designs = {name: (scale.choose_depths(CONVNEXT), scale.choose_width(CONVNEXT)) for name, scale in SCALES.items()}
    assert designs == {
        "T": ((3, 3, 9, 3), 96),
        "S": ((3, 3, 27, 3), 96),
        "B": ((3, 3, 27, 3), 128),
        "L": ((3, 3, 27, 3), 192),
        "XL": ((3, 3, 27, 3), 256),
        "nano": ((3, 3, 9, 3), 24),
    }


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"depths": (3, 0, 1, 1)}, "depth must be at least 1, "),
        ({"width": 15}, "width must be at least 16, "),  # below it, training corrupts memory
        ({"wide_width": -1}, "width must be at least 16, "),
    ],
)
def test_scales_refuse(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Scale(), **bad)
