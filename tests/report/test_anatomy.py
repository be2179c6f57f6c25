import io

import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from PIL import Image

from ablations.report.anatomy import draw_step, explain
from ablations.report.blocks import compare, find_step
from ablations.report.style import ROAD
from convnext_path import LADDERS, RECIPES

STEPS = [("convnext-t", rung.name) for rung in LADDERS["convnext-t"]] + [("swin-t", "shifted_windows")]


def test_a_step_is_explained_with_its_costs() -> None:
    told = str(explain("convnext-t", "depthwise"))
    assert "* 3×3 depthwise convolution, 64" in told
    assert told.endswith("MACs 4.42G → 2.35G, parameters 28.6M → 15.7M\ntop-1 in the paper 79.51 % → 78.28 %")
    assert "kernel_size" not in explain("convnext-nano", "gelu", before="kernel_size_7").text
    assert explain("convnext-t", "resnet").text.startswith("recipe\n")
    with pytest.raises(ValueError, match=r"unknown rung 'gello' \(did you mean gelu\?\)"):
        explain("convnext-t", "gello")
    with pytest.raises(ValueError, match="before must be another rung than gelu, which would be compared with itself"):
        explain("convnext-t", "gelu", before="gelu")
    with pytest.raises(ValueError, match="unknown rung ''; allowed: resnet, "):
        explain("convnext-t", "gelu", before="")


@pytest.mark.parametrize(("ladder", "name"), STEPS)
def test_pictures_have_a_box_for_each_layer_and_texts_lie_in_their_boxes(ladder: str, name: str) -> None:
    changes = compare(*find_step(ladder, name), RECIPES["imagenet"])
    sides = [side for change in changes for side in (change.before, change.after)]
    figure = draw_step(changes, name)
    figure.draw_without_rendering()
    boxes = [box for box in figure.findobj(FancyBboxPatch) if box.axes]
    assert len(boxes) == sum(map(len, sides))
    texts = {text.get_text(): text for text in figure.findobj(Text)}
    for line, _ in (pair for side in sides for pair in side):
        assert texts[line.text].get_window_extent().width < 0.68 * 0.5 * figure.bbox.width


def test_what_changes_stands_out() -> None:
    figure = draw_step(compare(*find_step("convnext-t", "depthwise"), RECIPES["imagenet"]), "depthwise")
    colored = [box for box in figure.findobj(FancyBboxPatch) if box.get_edgecolor() == pytest.approx(to_rgba(ROAD))]
    assert len(colored) == 2


def test_a_notebook_shows_a_picture() -> None:
    with Image.open(io.BytesIO(explain("convnext-t", "gelu")._repr_png_())) as image:
        assert image.format == "PNG"
        assert image.width > 500
