"""Networks of timm, by name, where one of ours would be: to compare with, not to take apart."""

import difflib
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

from torch import nn

from convnext_path.frozen import Frozen


@dataclass(frozen=True)
class PeerFlags(Frozen):
    """Whose network it is: it has no flags of ours."""

    package: Literal["timm"] = "timm"

    @property
    def min_image_size(self) -> int:
        """The smallest image side that is not refused beforehand; many networks need more, and say so."""
        return 1


@dataclass(frozen=True)
class PeerScale(Frozen):
    """Which network, by the package's name for it.

    Raises:
        ValueError: timm is not installed, or has no such network; the message has the nearest names.
    """

    model: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if find_spec("timm") is None:
            raise ValueError(f"timm:{self.model} needs timm: pip install timm")
        import timm

        if not timm.is_model(self.model):
            near = difflib.get_close_matches(self.model, timm.list_models(), n=3)
            raise ValueError(f"timm has no model {self.model!r}; near: {', '.join(near) or 'none'}")


def make_peer(scale: PeerScale, num_classes: int, in_channels: int, image_size: int, drop_path: float) -> nn.Module:
    """Timm's network without weights; it learns of image side and stochastic depth if it takes them.

    Raises:
        ValueError: what timm says of images that do not suit it.
    """
    import timm

    extras: list[dict[str, Any]] = [{"img_size": image_size}, {"drop_path_rate": drop_path}]
    for options in (extras[0] | extras[1], extras[1], extras[0], {}):
        try:
            net: nn.Module = timm.create_model(scale.model, num_classes=num_classes, in_chans=in_channels, **options)
        except TypeError:
            continue  # one of the options is none of its own
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f"timm:{scale.model} for images of {image_size} px: {error}") from None
        return net
    raise ValueError(f"timm:{scale.model} cannot be made for {num_classes} classes and {in_channels} channels")
