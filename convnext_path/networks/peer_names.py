"""Names of other packages' networks and weights: which there are, and which are meant. Nothing is made or loaded."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from convnext_path.files import LONGEST, digest, read_regular
from convnext_path.frozen import Frozen
from convnext_path.words import suggest

Package = Literal["torchvision", "timm"]
PACKAGES: tuple[Package, ...] = ("torchvision", "timm")

#: Those of torchvision's that train with classifiers on the way, which no recipe of ours has.
AUXILIARY = ("googlenet", "inception_v3")


@dataclass(frozen=True)
class PeerFlags(Frozen):
    """What a network of another package begins with; it has no flags of ours.

    Args:
        weights: its package's name for weights that it publishes, or a file; None: random ones.
        digest: the file's sha256; None where there is no file.
    """

    weights: str | None = None
    digest: str | None = None

    @property
    def min_image_size(self) -> int:
        """The smallest image side that is not refused beforehand; many networks need more, and say so."""
        return 1


@dataclass(frozen=True)
class PeerScale(Frozen):
    """Which network, by its package's name for it.

    Raises:
        ValueError: the package is not installed, or has no such network; the message has the nearest names.
    """

    package: Package
    model: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if find_spec(self.package) is None:
            raise ValueError(f"{self.title} needs {self.package}: pip install {self.package}")
        if self.model not in list_models(self.package):
            near = suggest(self.model, list_models(self.package))
            raise ValueError(f"{self.package} has no model {self.model!r}; similar: {near}")
        if self.title in [f"torchvision:{name}" for name in AUXILIARY]:
            raise ValueError(f"{self.model} trains with auxiliary classifiers, which no recipe here supports")

    @property
    def title(self) -> str:
        return f"{self.package}:{self.model}"


def list_models(package: str) -> list[str]:
    """A package's networks that classify images; none where it is not installed."""
    models: list[str] = []
    if package == "torchvision":
        import torchvision

        models = torchvision.models.list_models(module=torchvision.models)
    elif find_spec("timm"):
        import timm

        models = timm.list_models()
    return models


def find_peer(name: str, others: Collection[str] = ()) -> PeerScale:
    """A network as PACKAGE:NAME, or by its name alone, torchvision's before timm's; ``others`` may be meant too.

    Raises:
        ValueError: no package has it; the message has the nearest names.
    """
    package, _, model = name.rpartition(":")
    for known in PACKAGES:
        if package == known or (not package and model in list_models(known)):
            return PeerScale(known, model)
    near = suggest(model, sorted({*others, *(model for known in PACKAGES for model in list_models(known))}))
    raise ValueError(f"neither torchvision nor timm has a model {name!r}; similar: {near}")


def choose_weights(scale: PeerScale, file: str | None) -> PeerFlags:
    """The weights in a file, or those that the package publishes and recommends. Nothing is fetched.

    Raises:
        ValueError: the file cannot be read, or nothing is published.
    """
    if file is not None:
        path = os.path.realpath(os.path.expanduser(file))
        return PeerFlags(path, digest(read_file(path)))
    if scale.package == "torchvision":
        import torchvision

        return PeerFlags(torchvision.models.get_model_weights(scale.model).DEFAULT.name)
    import timm

    config = timm.get_pretrained_cfg(scale.model)
    if config is None or not config.has_weights:
        raise ValueError(f"{scale.title} has no published weights")
    return PeerFlags(config.tag or "default")


def read_file(file: str) -> bytes:
    """What a file holds. Raises a ValueError where it cannot be read, or is no file: a pipe would never end."""
    try:
        return read_regular(Path(file), LONGEST)
    except OSError as error:
        raise ValueError(f"weights {file} cannot be read: {error.strerror}") from None
