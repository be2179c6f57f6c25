"""Of several sets of weights in one file, the one that was trained: by what stands before a network's own names."""

import itertools
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NoReturn

import torch
from torch import Tensor

from convnext_path.words import shorten

#: Ends of names of what a network makes for itself: some files hold it, and no output hangs on it.
EXTRAS = (
    *("num_batches_tracked", "relative_position_index", "relative_coords_table", "attention_bias_idxs"),
    *("attn_mask", "n_averaged"),
)
#: Words that name a set of weights which was trained, and one that follows such a set.
TRAINED = {
    *("trained", "student", "online", "query", "q", "base", "context"),
    *("model", "module", "network", "net", "backbone", "encoder", "weights", "params"),
}
FOLLOWING = {"ema", "swa", "average", "averaged", "avg", "shadow", "teacher", "momentum", "target", "key", "k"}


def choose_set(names: Collection[str]) -> str:
    """The name of the set that was trained, beside those that follow it; a word that all names share tells nothing.

    Raises:
        ValueError: the names do not tell which it is.
    """
    words = {name: {word.lower() for word in re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)} for name in names}
    own = {name: found - set.intersection(*words.values()) for name, found in words.items()}
    others = [name for name in names if not own[name] & FOLLOWING]
    if len(others) == 1 and (not own[others[0]] or own[others[0]] & TRAINED):
        return others[0]
    refuse_several(names)


def refuse_several(names: Iterable[str]) -> NoReturn:
    told = shorten(sorted(name.rstrip(".") or "(names without a prefix)" for name in names), 5)
    raise ValueError(f"it holds several sets of weights, {told}: save one of them alone")


def find_prefix(weights: Mapping[str, Tensor], expected: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """What stands before a network's own names, up to a dot, and what before those of other sets within.

    It stands before most of them; else before all that there are.

    Raises:
        ValueError: it stands before several sets that differ, and does not tell which was trained.
    """
    held = find_starts(weights, expected)
    sets = find_sets(held, sum(not name.endswith(EXTRAS) for name in expected))
    if "" in held and "" not in sets:
        return "", ()
    if len(sets) > 1:
        chosen = choose_set(leave_out_copies(weights, {start: held[start] for start in sets}))
        return chosen, tuple(start for start in sets if len(start) > len(chosen))
    if sets and 2 * len(held[sets[0]]) >= len(expected):
        return sets[0], ()
    places = zip(*(name.split(".")[:-1] for name in weights), strict=False)
    common = [place[0] for place in itertools.takewhile(lambda place: len({*place}) == 1, places)]
    return ".".join([*common, ""]), ()


def find_starts(names: Iterable[str], expected: Collection[str]) -> dict[str, set[str]]:
    """Which of a network's names stand in a file, by what is before them: nothing, or a text that ends with a dot."""
    held = defaultdict(set)
    for name in names:
        for place in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            if name[place:] in expected:
                held[name[:place]].add(name[place:])
    return dict(held)


def find_sets(held: Mapping[str, set[str]], whole: int) -> list[str]:
    """What stands before sets of at least half of a network's names, the fullest first; no tensor is in two of them."""
    sets: list[str] = []
    taken: set[str] = set()
    for start in sorted(held, key=lambda start: (-len(held[start]), len(start), start)):
        names = {start + name for name in held[start]}
        if 2 * len(names) >= whole and taken.isdisjoint(names):
            sets.append(start)
            taken |= names
    return sets


def leave_out_copies(weights: Mapping[str, Tensor], sets: Mapping[str, set[str]]) -> Sequence[str]:
    """The sets without those that are the same as an earlier one, as of a network that has a second name."""
    kept: list[str] = []
    for start, names in sets.items():
        same = (one for one in kept if sets[one] == names)
        if not any(all(is_same(weights[start + name], weights[one + name]) for name in names) for one in same):
            kept.append(start)
    return kept


def is_same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
