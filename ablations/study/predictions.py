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
    """

    data: str
    weights: str
    classes: tuple[str, ...]
    truth: tuple[int, ...]
    given: tuple[int, ...]
    confidences: tuple[float, ...]
    file: str = ""

    @property
    def right(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each image's answer is its class."""
        right: np.ndarray[Any, np.dtype[np.bool_]] = np.asarray(self.truth) == np.asarray(self.given)
        return right
