"""Images that networks are validated on, each with what every network answers, for a page."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from ablations.report.confusion import Kept
from ablations.study.predictions import Answers
from convnext_path.data.datasets import Splits

DRAWN, MISTAKES = 96, 12  # images drawn over all classes, and surest mistakes of each network
SIDE = 128  # pixels, to which larger images are reduced


@dataclass(frozen=True)
class Answer:
    network: str
    given: str
    confidence: float
    right: bool


@dataclass(frozen=True)
class Picture:
    """An image as a data URI; ``groups`` are what it is filtered by."""

    source: str
    truth: str
    answers: Sequence[Answer]
    groups: Sequence[str]


@dataclass(frozen=True)
class Gallery:
    """Pictures, and the groups that they are in: what each is called, by name."""

    pictures: Sequence[Picture]
    groups: Sequence[tuple[str, str]]


def make_gallery(splits: Splits, kept: Kept) -> Gallery:
    """Images drawn evenly over the classes and each network's surest mistakes, with its first seed's answers."""
    first = {name: answers[0] for name, answers in kept.items()}
    truth = next(iter(first.values())).truth
    drawn = draw_evenly(truth, DRAWN)
    mistakes = sorted({place for answers in first.values() for place in find_mistakes(answers, MISTAKES)} - {*drawn})
    pictures = [make_picture(splits, first, place, place in drawn) for place in (*drawn, *mistakes)]
    wrong = [(f"wrong-{i}", f"{name} is wrong") for i, name in enumerate(first)]
    kinds = [("drawn", "sample of all classes"), ("split", "networks disagree"), *wrong, ("", "all")]
    there = {group for picture in pictures for group in picture.groups} | {""}
    return Gallery(pictures, [(group, label) for group, label in kinds if group in there])


def draw_evenly(truth: Sequence[int], most: int) -> list[int]:
    """Places of ``most`` images, the same each time, of all classes alike as far as there are so many; by class."""
    labels = pd.Series(truth).sample(frac=1, random_state=0)
    turns = labels.groupby(labels).cumcount()
    chosen = labels[turns.sort_values(kind="stable").index[:most]]
    return [int(place) for place in chosen.sort_index().sort_values(kind="stable").index]


def find_mistakes(answers: Answers, most: int) -> list[int]:
    """Places of the images that are taken for another class most confidently."""
    wrong = np.flatnonzero(~answers.right)
    return [int(place) for place in wrong[np.argsort(-np.asarray(answers.confidences)[wrong], kind="stable")][:most]]


def make_picture(splits: Splits, first: dict[str, Answers], place: int, is_drawn: bool) -> Picture:
    answers = [find_answer(name, answers, place) for name, answers in first.items()]
    classes, truth = next((one.classes, one.truth) for one in first.values())
    groups = list(group_answers(answers)) + ["drawn"] * is_drawn
    return Picture(embed(splits.val[splits.val_indices[place]]), classes[truth[place]], answers, groups)


def find_answer(name: str, answers: Answers, place: int) -> Answer:
    given = answers.given[place]
    return Answer(name, answers.classes[given], answers.confidences[place], given == answers.truth[place])


def group_answers(answers: Sequence[Answer]) -> Iterator[str]:
    if len({answer.given for answer in answers}) > 1:
        yield "split"
    yield from (f"wrong-{i}" for i, answer in enumerate(answers) if not answer.right)


def embed(pixels: Tensor) -> str:
    """A uint8 image of (C, H, W) as a data URI: PNG where it is small, JPEG else."""
    image: Image.Image = to_pil_image(pixels)
    content, kind = io.BytesIO(), "PNG" if max(image.size) <= SIDE // 2 else "JPEG"
    image.thumbnail((SIDE, SIDE))
    image.save(content, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
