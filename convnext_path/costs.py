"""What a network costs, as a value: multiply-accumulates by operator, parameters, activations.

One for each multiply-accumulate, norms included. The paper's "GFLOPs" are the convolutions and the classifier alone,
:attr:`Cost.paper_macs`.
"""

from dataclasses import dataclass

from convnext_path.frozen import Frozen, within

ATTENTION = "scaled_dot_product_attention"

#: What the papers count; the other operators are norms and pooling.
PRODUCTS = ("conv", "linear", "matmul", "bmm", "einsum", ATTENTION)


@dataclass(frozen=True)
class Cost(Frozen):
    """What a network costs per image. ``macs`` has pairs of (operator, multiply-accumulates), the largest first.

    Raises a ValueError for a number that cannot be a count.
    """

    params: int
    macs: tuple[tuple[str, int], ...]
    activations: int  # elements that the convolutions and the classifier put out (Radosavovic et al., RegNet)

    def __post_init__(self) -> None:
        super().__post_init__()
        for count in (self.params, self.activations, *(n for _, n in self.macs)):
            within("each of a Cost's counts", count, 0, 2**63 - 1)

    @property
    def paper_macs(self) -> int:
        """Multiply-accumulates of convolutions, linear layers and attention, as the papers count."""
        return sum(n for operator, n in self.macs if operator in PRODUCTS)

    @property
    def all_macs(self) -> int:
        """All multiply-accumulates that fvcore counts, with norms and pooling."""
        return sum(n for _, n in self.macs)


@dataclass(frozen=True)
class Kept(Frozen):
    """What a training step keeps for its backward pass, of each image more."""

    elements: int
