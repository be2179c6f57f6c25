"""From the images of a data set to a batch for the network: crop, augment, normalize, and the same without chance.

What torchvision's v2 transforms do, in distribution and to rounding, for a fraction of the time: most of theirs goes
into finding the right kernel for one small image. Here each image has a random generator of its own, and those of a
batch that draw the same operation go through it together. No image may feel the others, so kernels are exact in whole
numbers or round each element on its own: no sum of fractions, no fused multiply-add.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from random import Random

import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from torchvision.transforms.v2 import functional as F

from convnext_path.data.datasets import Splits
from convnext_path.recipe import Recipe

#: From uint8 images of (N, C, size, size) and parameters of (N, k) to images like them.
Operation = Callable[[Tensor, Tensor], Tensor]
#: An operation, and the parameters for one image.
Step = tuple[Operation, tuple[float, ...]]
#: Top, left, height and width in pixels.
Box = tuple[int, int, int, int]

#: An image is resized whole up to so many times its width; one without bound would not fit into memory.
LONGEST = 32


def augment(images: Sequence[Tensor], draws: Sequence[Random], recipe: Recipe, splits: Splits) -> Tensor:
    """Training images at random, as normalized floats of (N, C, size, size).

    Args:
        images: uint8 of (C, H, W), of any sizes.
        draws: the generator of each; what comes out is a function of image and generator.
        recipe, splits: what to do, and to which size, mean and deviation.
    """
    size = splits.image_size
    images = [random_crop(*pair, recipe.crop_area, size) for pair in zip(images, draws, strict=True)]
    if recipe.flip:
        images = [random_flip(*pair, recipe.flip) for pair in zip(images, draws, strict=True)]
    batch = torch.stack(images)
    if recipe.randaugment:
        batch = apply_steps(batch, [draw_randaugment(draw, recipe, size) for draw in draws])
    if recipe.color_jitter:
        batch = apply_steps(batch, [draw_jitter(draw, recipe.color_jitter) for draw in draws])
    batch = normalize(batch, splits)
    return random_erase(batch, draws, recipe.erasing) if recipe.erasing else batch


def center(images: Sequence[Tensor], recipe: Recipe, splits: Splits) -> Tensor:
    """Validation images: the center of each, resized; as normalized floats of (N, C, size, size)."""
    size = splits.image_size
    resized = [F.resize_image(cut_ends(image), [round(size / recipe.crop_ratio)]) for image in images]
    return normalize(torch.stack([F.center_crop_image(image, [size, size]) for image in resized]), splits)


def cut_ends(image: Tensor) -> Tensor:
    """The middle of an image that is longer than :data:`LONGEST` widths; any other as it is.

    All that :func:`center` shows lies in it, shifted by less than a pixel.
    """
    sides = image.shape[-2:]
    most = LONGEST * min(sides)
    return F.center_crop_image(image, [min(side, most) for side in sides]) if max(sides) > most else image


def normalize(batch: Tensor, splits: Splits) -> Tensor:
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (splits.mean, splits.std))
    return batch.float().div_(255).sub_(mean).div_(std)


def draw_box(
    draw: Random, height: int, width: int, areas: tuple[float, float], ratios: tuple[float, float], spare: int
) -> Box | None:
    """A box whose share of the area and ratio of sides are between bounds, with ``spare`` pixels beside it or more.

    None where ten tries give none.
    """
    for _ in range(10):
        area = height * width * draw.uniform(*areas)
        ratio = math.exp(draw.uniform(math.log(ratios[0]), math.log(ratios[1])))
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < h <= height - spare and 0 < w <= width - spare:
            return draw.randint(0, height - h), draw.randint(0, width - w), h, w
    return None


def draw_crop(draw: Random, height: int, width: int, least_area: float) -> Box:
    """A box of sides between 3:4 and 4:3; where none fits, the center, as much of it as such sides allow."""
    if box := draw_box(draw, height, width, (least_area, 1.0), (3 / 4, 4 / 3), spare=0):
        return box
    h, w = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w


def random_crop(image: Tensor, draw: Random, least_area: float, size: int) -> Tensor:
    """A box of the image, resized to (C, size, size)."""
    height, width = image.shape[-2:]
    box = draw_crop(draw, height, width, least_area)
    return F.resized_crop_image(image, *box, [size, size])  # type: ignore[no-any-return]


def random_flip(image: Tensor, draw: Random, probability: float) -> Tensor:
    return image.flip(-1) if draw.random() < probability else image


def random_erase(batch: Tensor, draws: Sequence[Random], probability: float) -> Tensor:
    """Set a box to 0 in place, in some images."""
    height, width = batch.shape[-2:]
    for image, draw in zip(batch, draws, strict=True):
        if draw.random() >= probability:
            continue
        if box := draw_box(draw, height, width, (0.02, 0.33), (0.3, 3.3), spare=1):
            top, left, h, w = box
            image[:, top : top + h, left : left + w] = 0
    return batch


def draw_randaugment(draw: Random, recipe: Recipe, size: int) -> list[Step]:
    """Two operations of one strength, in hundredths, that is drawn around the recipe's as timm does."""
    magnitude = draw.gauss(recipe.randaugment, recipe.randaugment_std)
    strength = round(10 * min(max(magnitude, 0.0), 10.0)) / 100
    operations = draw.choices([*SPACE.values()], k=2)
    return [operation(draw.choice((-strength, strength)), size) for operation in operations]


def draw_jitter(draw: Random, strength: float) -> list[Step]:
    """Brightness, contrast and saturation by factors around 1, in any order."""
    operations = draw.sample((adjust_brightness, adjust_contrast, adjust_saturation), 3)
    return [(operation, (draw.uniform(1 - strength, 1 + strength),)) for operation in operations]


def apply_steps(batch: Tensor, steps: Sequence[Sequence[Step]]) -> Tensor:
    """Take each image through its steps; those whose turn it is for the same operation go together, in place."""
    for turn in zip(*steps, strict=True):
        groups: dict[Operation, list[int]] = defaultdict(list)
        for place, (operation, _) in enumerate(turn):
            groups[operation].append(place)
        for operation, members in groups.items():
            parameters = torch.tensor([turn[place][1] for place in members])
            if len(groups) == 1:  # a large image comes alone: no need to copy it
                batch = operation(batch, parameters)
            else:
                places = torch.tensor(members)
                batch.index_copy_(0, places, operation(batch.index_select(0, places), parameters))
    return batch


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """The nearest pixel to ``matrix @ (x, y, 1)`` for each pixel (x, y), counted from the center; 0 outside."""
    half = images.shape[-1] / 2
    x = torch.arange(0.5 - half, half)
    xx, xy, x0, yx, yy, y0 = matrices.div(half).T.unsqueeze(-1).unsqueeze(-1)  # 6 of N, 1, 1
    y = x.unsqueeze(-1)
    grid = torch.stack((xx * x + xy * y + x0, yx * x + yy * y + y0), dim=-1)  # N, H, W, 2
    return grid_sample(images.float(), grid, mode="nearest", align_corners=False).to(torch.uint8)


def rotation(degrees: float) -> tuple[float, ...]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return cos, -sin, 0.0, sin, cos, 0.0


def blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """``others`` at factor 0, ``images`` at 1, and beyond; from floats of whole numbers."""
    mixed = (images - others).mul_(factors.view(-1, 1, 1, 1)).add_(others)
    return mixed.clamp_(0, 255).to(torch.uint8)


def to_gray(images: Tensor) -> Tensor:
    """Floats of (N, 1, H, W) from floats of 1 or 3 channels, rounded down."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(dim=1)
    return (red * 0.2989).add_(green * 0.587).add_(blue * 0.114).floor_().unsqueeze(1)


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    return blend(images.float(), torch.zeros(()), factors)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    pixels = images.float()
    gray = to_gray(pixels)
    mean = gray.sum((1, 2, 3), dtype=torch.int64, keepdim=True) / gray[0].numel()
    return blend(pixels, mean, factors)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    pixels = images.float()
    return blend(pixels, to_gray(pixels), factors)


def adjust_sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Away from or toward the mean of 3 x 3 pixels in which the middle counts 5 times; the border stays."""
    pixels = images.float()
    rows = pixels[:, :, :-2] + pixels[:, :, 1:-1] + pixels[:, :, 2:]
    boxes = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    blurred = pixels.clone()
    inner = blurred[:, :, 1:-1, 1:-1]
    inner.mul_(4).add_(boxes).div_(13).round_()
    return blend(pixels, blurred, factors)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    return images & (256 - 2 ** (8 - bits)).to(torch.uint8).view(-1, 1, 1, 1)


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    return torch.where(images >= thresholds.view(-1, 1, 1, 1), ~images, images)


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    return F.autocontrast_image(images)  # type: ignore[no-any-return]


def equalize(images: Tensor, _: Tensor) -> Tensor:
    return F.equalize_image(images)  # type: ignore[no-any-return]


def keep(images: Tensor, _: Tensor) -> Tensor:
    return images


#: RandAugment's operations, by torchvision's names, from a strength between -1 and 1 and the size in pixels.
SPACE: dict[str, Callable[[float, int], Step]] = {
    "Identity": lambda strength, size: (keep, ()),
    "ShearX": lambda strength, size: (warp, (1, 0.3 * strength, 0.15 * strength * size, 0, 1, 0)),
    "ShearY": lambda strength, size: (warp, (1, 0, 0, 0.3 * strength, 1, 0.15 * strength * size)),
    "TranslateX": lambda strength, size: (warp, (1, 0, -int(150 / 331 * strength * size), 0, 1, 0)),
    "TranslateY": lambda strength, size: (warp, (1, 0, 0, 0, 1, -int(150 / 331 * strength * size))),
    "Rotate": lambda strength, size: (warp, rotation(30 * strength)),
    "Brightness": lambda strength, size: (adjust_brightness, (1 + 0.9 * strength,)),
    "Color": lambda strength, size: (adjust_saturation, (1 + 0.9 * strength,)),
    "Contrast": lambda strength, size: (adjust_contrast, (1 + 0.9 * strength,)),
    "Sharpness": lambda strength, size: (adjust_sharpness, (1 + 0.9 * strength,)),
    "Posterize": lambda strength, size: (posterize, (round(8 - 4 * abs(strength)),)),
    "Solarize": lambda strength, size: (solarize, (255 * (1 - abs(strength)),)),
    "AutoContrast": lambda strength, size: (autocontrast, ()),
    "Equalize": lambda strength, size: (equalize, ()),
}
