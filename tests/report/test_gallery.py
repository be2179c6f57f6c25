import base64
import io

import pytest
import torch
from PIL import Image

from ablations.report.gallery import DRAWN, MISTAKES, SIDE, embed, make_gallery
from ablations.study.predictions import Answers
from convnext_path import Data
from convnext_path.data.datasets import Splits, open_data


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
