"""What decides a record's numbers beside its trial, and what its first steps gave, by which other code is judged."""

from dataclasses import dataclass
from typing import Any, Self

from convnext_path.frozen import Frozen

Facts = tuple[tuple[str, object], ...]  # by name, sorted


@dataclass(frozen=True)
class Origin(Frozen):
    """What decides a record's numbers beside its trial."""

    experiment: Facts = ()  # code, data, versions: with others it is another experiment
    rounding: Facts = ()  # processor, kernels, settings of the math libraries, threads: with others it rounds otherwise

    @property
    def facts(self) -> Facts:
        """Both parts."""
        return (*self.experiment, *self.rounding)

    @classmethod
    def from_pairs(cls, pairs: Any) -> Self:
        """The origin of a record from before the two parts were told apart."""
        parts: list[list[tuple[str, object]]] = [[], []]
        for name, value in pairs:
            parts[name in ("device", "kernels")].append((name, value))
        return cls(*map(tuple, parts))


def list_differences(there: Facts, here: Facts) -> list[str]:
    """In what two lists of facts differ: "torch: 2.14.0 in the record, 2.15.0 here"."""
    old, new = dict(there), dict(here)
    names = sorted(old.keys() | new.keys())
    return [f"{n}: {old.get(n)} in the record, {new.get(n)} here" for n in names if old.get(n) != new.get(n)]


@dataclass(frozen=True)
class Sketch(Frozen):
    """Many numbers in two, which rounding hardly changes and all else does: their root mean square, and a projection.

    The projection is the mean of the numbers, each times a fixed one between -1 and 1, times the root of their count.
    """

    name: str
    size: float
    projection: float


@dataclass(frozen=True)
class Fingerprint(Frozen):
    """What a training gives in its first steps: enough to see whether other code would give the same.

    ``losses`` are those of the training batches up to the last of these steps; ``weights`` a hash of the network's
    tensors after it; ``validation`` the losses of one validation batch before the first step and after the last;
    ``rates`` the learning rates at the end of each epoch of the whole training; ``optimizer`` its settings;
    ``sketches`` what there is before the first step: weights, images to train and to validate, and answers to these.
    """

    losses: tuple[float, ...]
    weights: str
    validation: tuple[float, ...]
    rates: tuple[float, ...]
    optimizer: str
    sketches: tuple[Sketch, ...]


@dataclass(frozen=True)
class Confirmation(Frozen):
    """Later code that gives what a fingerprint holds; ``exact``: to the bit, else but for rounding elsewhere."""

    code: str
    date: str
    exact: bool = True
