"""What can be switched in Swin and ViT, and the numbers of their published networks.

After Liu et al., "Swin Transformer" (arXiv 2103.14030, "V1") and "Swin Transformer V2" (arXiv 2111.09883, "V2"), and
Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv 2010.11929).
"""

from dataclasses import dataclass
from typing import Literal

from convnext_path.frozen import Frozen, at_least

Four = tuple[int, int, int, int]


@dataclass(frozen=True)
class SwinFlags(Frozen):
    """The design choices of the Swin papers, one field each. :data:`SWIN` is V1's network, :data:`SWIN_V2` is V2's.

    Every combination of flags is a network. "Our choice" marks what this project chose where the papers leave it open.

    - ``shifted_windows`` (V1, 3.2): the windows of every second block are shifted by half a window. Without this,
      windows exchange no information before patches are merged.
    - ``position`` (V1, 3.2): what attention knows of positions. ``absolute`` adds a learned vector to each patch.
      ``relative`` adds a learned number to the logits, for each head and each offset within a window.
    - ``appearance`` (V1, Table 4): the logits contain the product of query and key. Without it ("w/o app.") they
      contain only the relative bias. Our choice: the layer still computes queries and keys, and they are counted.
    - ``post_norm`` (V2, 3.2): norms come at the end of a block's branches and of patch merging, not at the start.
    - ``cosine_attention`` (V2, 3.2): the cosine of query and key replaces their product. It is multiplied by a learned
      number for each head, at most 100. Keys have no bias.
    - ``continuous_position`` (V2, 3.3): a small network computes the relative bias, between 0 and 16, from the
      logarithm of the offset. It replaces a table. Our choice: without relative position, this flag has no effect.

    Raises:
        ValueError: a value that is not allowed; the message names those that are.
    """

    shifted_windows: bool = False
    position: Literal["none", "absolute", "relative", "both"] = "none"
    appearance: bool = True
    post_norm: bool = False
    cosine_attention: bool = False
    continuous_position: bool = False

    @property
    def min_image_size(self) -> int:
        """The smallest image side, in pixels: one patch, since merging and windows pad."""
        return 4


SWIN = SwinFlags(shifted_windows=True, position="relative")
SWIN_V2 = SwinFlags(True, "relative", True, post_norm=True, cosine_attention=True, continuous_position=True)


MAX_WINDOW = 12  # patches


@dataclass(frozen=True)
class SwinScale(Frozen):
    """The numbers of a Swin network; ``width``, channels of the first stage, doubles with each.

    ``window`` and ``patch``: sides in patches and pixels; None: what suits the image, :meth:`choose_patch` and
    :meth:`choose_window`.

    Raises:
        ValueError: a number below 1, or heads that do not divide their stage's channels.
    """

    depths: Four = (2, 2, 6, 2)
    width: int = 96
    heads: Four = (3, 6, 12, 24)
    window: int | None = None
    patch: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("depths", min(self.depths)), ("heads", min(self.heads)), ("width", self.width)):
            at_least(name, value, 1)
        for name, number in (("window", self.window), ("patch", self.patch)):
            at_least(name, 1 if number is None else number, 1)
        for i, heads in enumerate(self.heads):
            if self.width * 2**i % heads:
                raise ValueError(f"{self.width * 2**i} channels cannot be shared by {heads} heads")

    def choose_patch(self, image_size: int) -> int:
        """4 pixels, as published; 2 for images below 128."""
        return self.patch or (4 if image_size >= 128 else 2)

    def choose_window(self, image_size: int) -> int:
        """The side of the last stage, as published (7 at 224 pixels, 8 at 256), but 4 to 12 patches (12 at 384)."""
        return self.window or min(max(image_size // (8 * self.choose_patch(image_size)), 4), MAX_WINDOW)


SWIN_T = SwinScale()
SWIN_NANO = SwinScale((2, 2, 2, 1), 16, (1, 2, 4, 8))


@dataclass(frozen=True)
class ViTFlags(Frozen):
    """Design choices of the ViT paper, one field each. :data:`VIT` is the paper's network.

    - ``class_token`` (3.1, D.3): a learned token beside the patches; the classifier reads its last state. Without it,
      the classifier reads the mean over all patches.
    - ``position`` (3.1, D.4): what is added to the patches. ``learned``: a learned vector for each patch.
      ``sinusoidal``: fixed sines and cosines of row and column (arXiv 2205.01580). A class token gets none.

    Raises:
        ValueError: a value that is not allowed; the message names those that are.
    """

    class_token: bool = False
    position: Literal["none", "learned", "sinusoidal"] = "none"

    @property
    def min_image_size(self) -> int:
        """The smallest image side, in pixels: that of a patch."""
        return 8


VIT = ViTFlags(class_token=True, position="learned")


@dataclass(frozen=True)
class ViTScale(Frozen):
    """The numbers of a ViT. ``patch``: its side in pixels; None: what suits the image, :meth:`choose_patch`.

    Raises:
        ValueError: a number below 1, or channels that heads, or two dimensions of sines and cosines, do not divide.
    """

    depth: int = 12
    width: int = 384
    heads: int = 6
    patch: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("depth", "width", "heads"):
            at_least(name, getattr(self, name), 1)
        at_least("patch", 1 if self.patch is None else self.patch, 1)
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width must be a multiple of 4 and of heads ({self.heads}), got {self.width}")

    def choose_patch(self, image_size: int) -> int:
        """16 pixels, as published; an eighth of the side of images below 128."""
        return self.patch or (16 if image_size >= 128 else max(image_size // 8, 1))


VIT_S = ViTScale()
VIT_B = ViTScale(width=768, heads=12)
VIT_NANO = ViTScale(depth=4, width=48, heads=3)
