"""What a step changes, as parts of a network before and after it, read off the networks themselves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

import torch
from torch import nn

from ablations.analysis.tables import count_costs, show_count
from convnext_path import LADDERS, Cost, PathNet, Recipe, Rung
from convnext_path.frozen import Frozen, choose
from convnext_path.networks.layers import GELU, LayerScale
from convnext_path.networks.path import Block
from convnext_path.networks.registry import make_network


@dataclass(frozen=True)
class Line:
    """One line of a part: a layer with its channels, or a term of a recipe."""

    text: str
    channels: int | None = None  # that a convolution gives


Part = tuple[Line, ...]

NAMES = {nn.BatchNorm2d: "BatchNorm", nn.LayerNorm: "LayerNorm", nn.ReLU: "ReLU", GELU: "GELU"}


def list_parts(rung: Rung, recipe: Recipe) -> dict[str, Part]:
    """A rung's recipe, stem, stages, downsampling, and a block of its first stage that keeps the shape.

    Of a network that is not the road's, its flags and numbers.
    """
    with torch.device("meta"):
        net = make_network(rung.flags, rung.scale, recipe)
    if not isinstance(net, PathNet):
        return {"network": (*list_terms(rung.flags), *list_terms(rung.scale))}
    depths, width = net.scale.choose_depths(net.flags), net.scale.choose_width(net.flags)
    stages = (Line(f"{depth} blocks of width {width * 2**i}") for i, depth in enumerate(depths))
    return {
        "recipe": tuple(list_terms(recipe)),
        "stem": tuple(name_layers(net.stem)),
        "stages": tuple(stages),
        "between stages": tuple(name_downsampling(net)),
        "block": tuple(name_block(find_block(net))),
    }


def list_terms(terms: Frozen) -> Iterator[Line]:
    for name, value in terms.to_dict().items():
        yield Line(f"{name.replace('_', ' ')} {show_term(value)}")


def show_term(value: object) -> str:
    return format(value, ".4g") if isinstance(value, float) else str(value)


def find_block(net: PathNet) -> Block:
    """The first stage's last block."""
    return [module for module in net.stages[0].children() if isinstance(module, Block)][-1]


def name_downsampling(net: PathNet) -> Iterator[Line]:
    layers = dict(net.stages[1].named_children())
    if "downsampling" in layers:
        yield from name_layers(layers["downsampling"])
    else:
        yield Line("stride 2 in the first block")


def name_block(block: Block) -> Iterator[Line]:
    yield from name_layers(block.branch)
    if isinstance(block.layer_scale, LayerScale):
        yield Line("layer scale")
    yield Line("add the shortcut")
    yield from name_layers(nn.Sequential(block.act))


def name_layers(layers: nn.Module) -> Iterator[Line]:
    for layer in layers.children():
        if isinstance(layer, nn.Conv2d):
            yield name_convolution(layer)
        elif isinstance(layer, nn.MaxPool2d):
            yield Line(f"{layer.kernel_size}×{layer.kernel_size} max pooling, stride {layer.stride}")
        elif not isinstance(layer, nn.Identity):
            yield Line(next((name for kind, name in NAMES.items() if isinstance(layer, kind)), type(layer).__name__))


def name_convolution(conv: nn.Conv2d) -> Line:
    side, kind = conv.kernel_size[0], "depthwise " if conv.groups > 1 else ""
    stride = f", stride {conv.stride[0]}" if conv.stride[0] > 1 else ""
    return Line(f"{side}×{side} {kind}convolution, {conv.out_channels}{stride}", conv.out_channels)


@dataclass(frozen=True)
class Change:
    """A part before and after a step; each line with whether the other side lacks it."""

    part: str
    before: tuple[tuple[Line, bool], ...]
    after: tuple[tuple[Line, bool], ...]


def compare(base: Rung | None, rung: Rung, recipes: Mapping[str, Recipe]) -> list[Change]:
    """The parts that a rung changes from its base; all parts of one without a base, with nothing before."""
    after = list_parts(rung, recipes[rung.recipe])
    if base is None:
        return [Change(name, (), mark(part, set(range(len(part))))) for name, part in after.items()]
    before = list_parts(base, recipes[base.recipe])
    return [compare_part(name, before[name], after[name]) for name in after if before[name] != after[name]]


def compare_part(name: str, before: Part, after: Part) -> Change:
    """Of a recipe and of flags the terms that differ, of a network's part all layers."""
    pairs = [m for m in SequenceMatcher(a=before, b=after, autojunk=False).get_matching_blocks() if m.size]
    same_before = {m.a + i for m in pairs for i in range(m.size)}
    same_after = {m.b + i for m in pairs for i in range(m.size)}
    if name in ("recipe", "network"):
        before = tuple(line for i, line in enumerate(before) if i not in same_before)
        after = tuple(line for i, line in enumerate(after) if i not in same_after)
        same_before, same_after = set(), set()
    return Change(name, mark(before, same_before), mark(after, same_after))


def mark(part: Part, same: set[int]) -> tuple[tuple[Line, bool], ...]:
    return tuple((line, i not in same) for i, line in enumerate(part))


def show_change(change: Change) -> str:
    """A change as two columns of text; what only one side has is marked."""
    sides = [[f"{'*' if lone else ' '} {line.text}" for line, lone in side] for side in (change.before, change.after)]
    width = max((len(text) for text in sides[0]), default=0)
    rows = zip_longest(*sides, fillvalue="")
    return "\n".join([change.part, *(f"  {before:{width}}   {after}".rstrip() for before, after in rows)])


def find_step(ladder: str, name: str, before: str | None = None) -> tuple[Rung | None, Rung]:
    """The rung that a rung is compared with, if there is one, and it.

    ``before``: that rung's name, if it is not the last adopted one.

    Raises:
        ValueError: an unknown ladder or rung.
    """
    rungs = LADDERS[choose("ladder", ladder, LADDERS)]
    names = [rung.name for rung in rungs]
    rung = rungs[names.index(choose("rung", name, names))]
    if before == name:
        raise ValueError(f"before must be another rung than {name}, which would be compared with itself")
    earlier = [other for other in rungs[: rungs.index(rung)] if other.adopted]
    base = rungs[names.index(choose("rung", before, names))] if before is not None else earlier[-1] if earlier else None
    return base, rung


def describe_changes(changes: Sequence[Change], rungs: Sequence[Rung]) -> str:
    """What changes from a rung to the next, and what they cost at 224 x 224, as text."""
    return "\n".join([*map(show_change, changes), *describe_costs(rungs)])


def describe_costs(rungs: Sequence[Rung]) -> Iterator[str]:
    """A line for what networks cost, and one for what the paper measured of them, if it did."""
    counted = count_costs(rungs)
    gmacs, params = ([show_count(number) for number in numbers] for numbers in zip(*map(measure, counted), strict=True))
    yield f"MACs {' → '.join(gmacs)}, parameters {' → '.join(params)}"
    if all(rung.paper_top1 is not None for rung in rungs):
        yield f"top-1 in the paper {' → '.join(f'{rung.paper_top1:.2f} %' for rung in rungs)}"


def measure(cost: Cost) -> tuple[int, int]:
    return cost.paper_macs, cost.params
