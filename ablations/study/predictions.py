"""What a network answers, image by image: kept beside the records where a run asks for it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from convnext_path.frozen import Frozen


@dataclass(frozen=True)
class Answers(Frozen):
    """A trained network's answers on the images that it is validated on, in the split's order.

    ``truth`` and ``given`` are places in ``classes``; ``confidences`` are the probabilities of what is given;
    ``data`` and ``weights`` are hashes of all images and of the network's weights, as in the record, and ``file`` is
    that of the file that holds the weights.

    Raises a ValueError where these are not one of each for every image, or no places and probabilities.
    """

    data: str
    weights: str
    classes: tuple[str, ...]
    truth: tuple[int, ...]
    given: tuple[int, ...]
    confidences: tuple[float, ...]
    file: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < len(self.truth) == len(self.given) == len(self.confidences):
            raise ValueError("Answers must have truth, given and confidences for each image, and at least one image")
        for name, last in (("truth", len(self.classes) - 1), ("given", len(self.classes) - 1), ("confidences", 1)):
            if not all(0 <= value <= last for value in getattr(self, name)):
                raise ValueError(f"each of Answers.{name} must be between 0 and {last}")

    @property
    def right(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each image's answer is its class."""
        right: np.ndarray[Any, np.dtype[np.bool_]] = np.asarray(self.truth) == np.asarray(self.given)
        return right
