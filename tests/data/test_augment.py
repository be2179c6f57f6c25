"""Everything is held against torchvision: operations on the same parameters, draws as distributions."""

import math
from collections import Counter
from dataclasses import replace
from operator import itemgetter
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, ks_2samp
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from convnext_path import RECIPES, Data, Recipe
from convnext_path.data.augment import (
    SPACE,
    Operation,
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    apply_steps,
    augment,
    center,
    draw_crop,
    draw_jitter,
    draw_randaugment,
    normalize,
    random_crop,
    random_erase,
    random_flip,
    warp,
)
from convnext_path.data.datasets import Splits, open_data

ENHANCED = RECIPES["imagenet"]["enhanced"]
SPLITS = replace(open_data(Data()), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.1))
GRAY, RGB = 1, 3
CROP = ("top", "left", "height", "width")
PLAIN = replace(ENHANCED, crop_area=1.0, flip=0.0, randaugment=0.0, color_jitter=0.0, erasing=0.0)


def make_images(count: int, channels: int, *sides: int) -> Tensor:
    """Noise and, every second image, flat areas with steps between."""
    images = np.random.default_rng(0).integers(0, 256, (count, channels, *sides), dtype=np.uint8)
    images[::2] &= 192
    return torch.from_numpy(images)


def generators(count: int) -> list[Random]:
    return [Random(i) for i in range(count)]


def torchvision_operation(image: Tensor, name: str, hundredths: int) -> Tensor:
    reference = v2.RandAugment(num_magnitude_bins=101)
    magnitudes, signed = reference._AUGMENTATION_SPACE[name]
    values = magnitudes(101, *image.shape[-2:])
    value = 0.0 if values is None else float(values[abs(hundredths)])
    sign = -1 if signed and hundredths < 0 else 1
    return reference._apply_image_or_video_transform(
        image, name, sign * value, reference.interpolation, reference._fill
    )


@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize("channels", [GRAY, RGB])
@pytest.mark.parametrize("name", SPACE)
def test_operations_are_torchvisions(name: str, channels: int, size: int) -> None:
    images, strengths = make_images(40, channels, size, size), range(-100, 100, 5)
    ours = apply_steps(images.clone(), [[SPACE[name](strength / 100, size)] for strength in strengths])
    theirs = torch.stack([torchvision_operation(*pair) for pair in zip(images, [name] * 40, strengths, strict=True)])
    difference = (ours.int() - theirs.int()).abs()
    assert ours.dtype == torch.uint8
    if name.startswith(("Shear", "Rotate")):  # half-way between two pixels, rounding decides
        assert (difference > 0).float().mean() < 0.01
    else:
        assert difference.max() <= 1  # a product that is whole but for rounding is cut off
        assert (difference > 0).float().mean() < 0.05


def test_the_space_is_torchvisions() -> None:
    assert list(SPACE) == list(v2.RandAugment._AUGMENTATION_SPACE)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (adjust_brightness, F.adjust_brightness),
        (adjust_contrast, F.adjust_contrast),
        (adjust_saturation, F.adjust_saturation),
    ],
)
def test_jitter_takes_each_image_by_its_factor(ours: Operation, theirs: Any) -> None:
    images, factors = make_images(9, RGB, 20, 20), torch.linspace(0.6, 1.4, 9)
    expected = torch.stack([theirs(image, float(factor)) for image, factor in zip(images, factors, strict=True)])
    assert (ours(images, factors).int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("channels", [GRAY, RGB])
@pytest.mark.parametrize("size", [1, 2, 3, 32, 45])
def test_no_image_feels_the_others(size: int, channels: int) -> None:
    """To the bit, whatever operations they take, whatever their number."""
    images, draws = make_images(60, channels, size, size), generators(60)
    recipe = replace(ENHANCED, randaugment_std=5)
    steps = [draw_randaugment(draw, recipe, size) + draw_jitter(draw, 0.4) for draw in draws]
    together = apply_steps(images.clone(), steps)
    alone = [apply_steps(images[i : i + 1].clone(), [steps[i]]) for i in range(60)]
    assert torch.equal(together, torch.cat(alone))


def test_strength_0_of_what_has_a_sign_leaves_images_as_they_are() -> None:
    images = make_images(10, RGB, 16, 16)
    for name in list(SPACE)[:10]:
        assert torch.equal(apply_steps(images.clone(), [[SPACE[name](0.0, 16)]] * 10), images)


def test_what_comes_from_outside_is_black() -> None:
    white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    moved = warp(white, torch.tensor([[1.0, 0, -3, 0, 1, 0]]))  # by 3 to the right
    assert moved[..., :3].max() == 0
    assert moved[..., 3:].min() == 255


@pytest.mark.parametrize("sides", [(32, 32), (8, 8), (50, 37), (20, 90)])
def test_crops_are_torchvisions(sides: tuple[int, int]) -> None:
    image = make_images(1, RGB, *sides)[0]
    for seed in range(20):
        box = draw_crop(Random(seed), *sides, 0.08)
        assert torch.equal(random_crop(image, Random(seed), 0.08, 32), F.resized_crop(image, *box, [32, 32]))


@pytest.mark.parametrize("sides", [(1, 100), (100, 1), (3, 50), (50, 3), (2, 5)])
def test_where_no_box_fits_it_is_torchvisions_center(sides: tuple[int, int]) -> None:
    theirs = v2.RandomResizedCrop(16, scale=(1.0, 1.0)).make_params([make_images(1, RGB, *sides)[0]])
    assert draw_crop(Random(0), *sides, 1.0) == itemgetter(*CROP)(theirs)


@pytest.mark.parametrize("sides", [(32, 32), (40, 60), (375, 500), (20, 90)])
@pytest.mark.parametrize("least", [0.08, 0.6])
def test_boxes_are_spread_as_torchvisions(least: float, sides: tuple[int, int]) -> None:
    torch.manual_seed(0)
    image, transform = make_images(1, RGB, *sides)[0], v2.RandomResizedCrop(32, scale=(least, 1.0))
    theirs = [itemgetter(*CROP)(transform.make_params([image])) for _ in range(2000)]
    compare([draw_crop(draw, *sides, least) for draw in generators(2000)], theirs)


def test_erased_boxes_are_spread_as_torchvisions() -> None:
    torch.manual_seed(0)
    white, transform = torch.full((3, 32, 32), 255, dtype=torch.uint8), v2.RandomErasing(1.0)
    theirs = [itemgetter(*"ijhw")(transform.make_params([white])) for _ in range(2000)]
    batch = random_erase(torch.ones(2000, 3, 32, 32), generators(2000), 1.0)
    ours = []
    for image in batch:
        assert (image == image[0]).all()
        rows, columns = (np.flatnonzero((image[0] == 0).any(dim)) for dim in (1, 0))
        box = rows[0], columns[0], len(rows), len(columns)
        assert (image[0] == 0).sum() == box[2] * box[3]
        ours.append(box)
    assert max(max(box[2:]) for box in ours) == max(max(box[2:]) for box in theirs) == 31
    compare(ours, theirs)


def compare(ours: list[Any], theirs: list[Any]) -> None:
    """Tops, lefts, heights, widths, areas and ratios, as distributions."""
    features = [np.array([[*box, box[2] * box[3], box[2] / box[3]] for box in boxes]).T for boxes in (ours, theirs)]
    assert all(ks_2samp(a, b).pvalue > 0.001 for a, b in zip(*features, strict=True))


def share(changed: Tensor) -> float:
    return float(changed.flatten(1).any(1).float().mean())


def test_shares_of_flipped_and_erased() -> None:
    count, images = 4000, make_images(1, RGB, 8, 8).expand(4000, 3, 8, 8)
    for p in (0.1, 0.5):
        margin = 4 * math.sqrt(p * (1 - p) / count)
        flipped = torch.stack([random_flip(images[0], draw, p) for draw in generators(count)])
        assert share(flipped != images) == pytest.approx(p, abs=margin)
        assert share(random_erase(images.clone(), generators(count), p) != images) == pytest.approx(p, abs=margin)
    assert torch.equal(random_flip(images[0], Random(0), 1.0), F.horizontal_flip(images[0]))


def test_operations_are_drawn_alike_often_and_from_both_sides() -> None:
    """A pair of operations for each image, independent of each other."""
    names = {SPACE[name](0.5, 32): name for name in SPACE} | {SPACE[name](-0.5, 32): name for name in SPACE}
    recipe = replace(ENHANCED, randaugment=5, randaugment_std=0.0)
    steps = [draw_randaugment(draw, recipe, 32) for draw in generators(8000)]
    pairs = Counter((names[first], names[second]) for first, second in steps)
    assert len(pairs) == len(SPACE) ** 2
    assert chisquare(list(pairs.values())).pvalue > 0.001
    brightness = Counter(step[1][0] for pair in steps for step in pair if step[0] is adjust_brightness)
    assert sorted(brightness) == pytest.approx([0.55, 1.45])
    assert chisquare(list(brightness.values())).pvalue > 0.001


@pytest.mark.parametrize(("mean", "std"), [(9, 0.5), (2, 0.5), (9.8, 2)])
def test_magnitudes_are_drawn_for_each_image_as_timm_does(mean: float, std: float) -> None:
    """In hundredths of the strongest; from the factors of brightness, which is 1 image in 7."""
    recipe, drawn = replace(ENHANCED, randaugment=mean, randaugment_std=std), []
    for draw in generators(20000):
        drawn += [abs(p[0] - 1) / 0.009 for step, p in draw_randaugment(draw, recipe, 32) if step is adjust_brightness]
    expected = np.rint(10 * np.random.default_rng(0).normal(mean, std, len(drawn)).clip(0, 10))
    np.testing.assert_allclose(drawn, np.rint(drawn), atol=1e-6)
    assert 0 <= min(np.rint(drawn)) <= max(np.rint(drawn)) <= 100
    assert ks_2samp(np.rint(drawn), expected).pvalue > 0.001


def test_jitter_has_any_order_and_even_factors() -> None:
    steps = [draw_jitter(draw, 0.4) for draw in generators(3000)]
    orders = Counter(tuple(operation for operation, _ in plan) for plan in steps)
    assert len(orders) == 6
    assert chisquare(list(orders.values())).pvalue > 0.001
    for turn in range(3):
        factors = [plan[turn][1][0] for plan in steps]
        assert ks_2samp(factors, np.linspace(0.6, 1.4, 3000)).pvalue > 0.001


@pytest.mark.parametrize("sides", [(32, 32), (40, 60), (101, 37)])
@pytest.mark.parametrize("ratio", [0.875, 1.0])
def test_validation_is_torchvisions(ratio: float, sides: tuple[int, int]) -> None:
    reference = v2.Compose(
        [
            v2.Resize(round(32 / ratio), antialias=True),
            v2.CenterCrop(32),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(SPLITS.mean, SPLITS.std),
        ]
    )
    images = make_images(3, RGB, *sides)
    ours = center(list(images), replace(PLAIN, crop_ratio=ratio), SPLITS)
    torch.testing.assert_close(ours, reference(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("sides", [(1, 150_000), (150_000, 1), (3, 90_000)])
def test_long_images_take_no_memory_to_speak_of(sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Resized whole, the longest of them would take 22 GB."""
    resized, resize = [], F.resize_image

    def note(image: Tensor, size: list[int]) -> Tensor:
        resized.append(image.numel())
        return resize(image, size)

    monkeypatch.setattr(F, "resize_image", note)
    splits: Splits = replace(SPLITS, image_size=224)
    images = list(make_images(1, RGB, *sides))
    for batch in (center(images, PLAIN, splits), augment(images, generators(1), PLAIN, splits)):
        assert batch.shape == (1, 3, 224, 224)
    assert max(resized) <= 3 * 32 * min(sides) ** 2


@pytest.mark.parametrize("length", [319, 320, 321, 330, 500, 501])
def test_the_center_of_a_long_image_is_that_of_the_whole(length: int) -> None:
    wave = (128 + 100 * torch.linspace(-length / 20, length / 20, length).sin()).byte().expand(3, 10, length)
    (ours,) = center([wave], PLAIN, SPLITS)
    whole = F.center_crop(F.resize(wave, [round(32 / PLAIN.crop_ratio)]), [32, 32])
    error = (ours - normalize(whole[None], SPLITS)[0]).abs().max()
    assert error <= (0 if length <= 320 else 10 / 255 / 0.1)  # as between two pixels
    (turned,) = center([wave.mT], PLAIN, SPLITS)
    torch.testing.assert_close(turned, ours.mT)


def test_augmentation_without_chance_is_normalization() -> None:
    images = make_images(5, RGB, 32, 32)
    draws = [Middle(i) for i in range(5)]
    torch.testing.assert_close(augment(list(images), draws, PLAIN, SPLITS), normalize(images, SPLITS))


class Middle(Random):
    """Draws the ratio 1:1."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("kind", ["original", "enhanced"])
def test_images_of_any_size_in_one_batch(name: str, kind: str) -> None:
    recipe: Recipe = RECIPES[name][kind]
    images = [make_images(1, RGB, *sides)[0] for sides in [(40, 30), (5, 80), (32, 32), (1, 1), (100, 200)]]
    for batch in (augment(images, generators(5), recipe, SPLITS), center(images, recipe, SPLITS)):
        assert (batch.shape, batch.dtype) == ((5, 3, 32, 32), torch.float32)
        assert batch.isfinite().all()


@pytest.mark.parametrize("channels", [GRAY, RGB])
def test_an_image_follows_from_its_generator(channels: int) -> None:
    splits: Splits = replace(SPLITS, mean=(0.5,) * channels, std=(0.2,) * channels)
    images = list(make_images(40, channels, 36, 30))
    before = [image.clone() for image in images]
    whole = augment(images, generators(40), ENHANCED, splits)
    for order in (range(39, -1, -1), range(0, 40, 3), [7]):
        some = augment([images[i] for i in order], [Random(i) for i in order], ENHANCED, splits)
        assert torch.equal(some, whole[list(order)])
    assert all(torch.equal(a, b) for a, b in zip(images, before, strict=True))
