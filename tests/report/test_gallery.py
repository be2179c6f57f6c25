import base64
import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ablations.report.gallery import DRAWN, MISTAKES, SIDE, draw_evenly, embed, find_mistakes, make_gallery
from ablations.study.predictions import Answers
from convnext_path import Data
from convnext_path.data.datasets import Splits, open_data
from tests.study.test_predictions import make_answers

LABELS = st.integers(0, 3)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return open_data(Data("digits"))


def answer(splits: Splits, wrong: slice) -> Answers:
    """Right but for some images, which are taken for the next class."""
    truth = splits.val.labels[list(splits.val_indices)]
    given = truth.copy()
    given[wrong] = (truth[wrong] + 1) % 10
    return Answers("d", "w", splits.classes, tuple(truth.tolist()), tuple(given.tolist()), (0.75,) * len(truth))


def test_pictures_are_the_images_with_every_networks_answer(splits: Splits) -> None:
    answers = {"one": [answer(splits, slice(40))], "other": [answer(splits, slice(20, 60))]}
    gallery = make_gallery(splits, answers)
    assert DRAWN < len(gallery.pictures) <= DRAWN + 2 * MISTAKES
    assert [name for name, _ in gallery.groups] == ["drawn", "split", "wrong-0", "wrong-1", ""]
    assert sum("drawn" in picture.groups for picture in gallery.pictures) == DRAWN
    for picture in gallery.pictures:
        assert [one.network for one in picture.answers] == ["one", "other"]
        assert {one.confidence for one in picture.answers} == {0.75}
        for i, one in enumerate(picture.answers):
            assert one.right == (one.given == picture.truth)
            assert one.right == (f"wrong-{i}" not in picture.groups)
        assert ("split" in picture.groups) == (len({one.given for one in picture.answers}) == 2)
    places = {embed(splits.val[index]): place for place, index in enumerate(splits.val_indices)}
    for picture in gallery.pictures:
        place = places[picture.source]
        assert picture.truth == splits.classes[answers["one"][0].truth[place]]
        assert [one.given for one in picture.answers] == [
            splits.classes[kept[0].given[place]] for kept in answers.values()
        ]


def test_networks_that_agree_have_no_group_of_disagreement(splits: Splits) -> None:
    gallery = make_gallery(splits, {"one": [answer(splits, slice(0))]})
    assert [name for name, _ in gallery.groups] == ["drawn", ""]
    assert len(gallery.pictures) == DRAWN


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 20, 60), (3, 500, 300), (3, 100, 90)])
def test_pictures_are_small(shape: tuple[int, int, int]) -> None:
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    kind, _, content = embed(pixels).partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert max(image.size) <= SIDE
    small = max(shape[1:]) <= SIDE // 2
    assert kind == f"data:image/{'png' if small else 'jpeg'}"
    if small:
        assert image.size == shape[:0:-1]


@given(st.lists(LABELS, min_size=1, max_size=60), st.integers(1, 70))
def test_images_are_drawn_evenly(truth: list[int], most: int) -> None:
    places = draw_evenly(truth, most)
    assert len(set(places)) == len(places) == min(most, len(truth))
    assert places == draw_evenly(truth, most)
    drawn = [truth[place] for place in places]
    assert drawn == sorted(drawn)
    left = [truth.count(label) - drawn.count(label) for label in range(4)]
    fewest = min((drawn.count(label) for label in range(4) if left[label]), default=60)
    assert all(drawn.count(label) <= fewest + 1 for label in range(4))


@given(st.lists(st.tuples(LABELS, LABELS, st.floats(0.25, 1)), min_size=1, max_size=30), st.integers(0, 9))
def test_mistakes_are_the_surest_first(rows: list[tuple[int, int, float]], most: int) -> None:
    answers = make_answers(*map(list, zip(*rows, strict=True)))  # type: ignore[arg-type]
    places = find_mistakes(answers, most)
    sure = [answers.confidences[place] for place in places]
    assert not answers.right[places].any()
    assert sure == sorted(sure, reverse=True)
    assert len(places) == min(most, np.count_nonzero(~answers.right))
