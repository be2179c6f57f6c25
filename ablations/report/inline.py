"""A study's charts as parts of its page."""

import re
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ablations.report.style import COLORS

CAPTIONS = {
    "accuracy": (
        "Accuracy per step",
        "One bar per step, one dot per seed. Hatched: tried, not adopted. Hollow bars and dotted lines: references. "
        "Gray: the paper's accuracy.",
    ),
    "changes": (
        "Change in accuracy per step, with 95 % intervals",
        "Change in top-1 accuracy by each step, compared seed by seed.",
    ),
    "road": (
        "Accuracy against multiply-accumulates",
        "Accuracy against multiply-accumulates per image. The line (the road) joins the adopted steps.",
    ),
    "road-seconds": ("Accuracy against training time", "Accuracy against the measured time of a training run."),
    "times": (
        "Time against multiply-accumulates",
        "Measured time against multiply-accumulates. Points above the dashed line take more time per "
        "multiply-accumulate than the first point.",
    ),
    "confusion": (
        "Confusion matrices",
        "Rows: true classes. Columns: answers. Numbers: percent of the images of a class.",
    ),
    "curves": ("Learning curves", "Validation accuracy per epoch, one line per seed."),
}

#: Captions of charts of networks side by side.
NETWORKS = {
    "accuracy": "One bar per network, one dot per seed.",
    "road": "Accuracy against multiply-accumulates per image.",
    "curves": "Validation accuracy per epoch, one line per seed.",
}


@dataclass(frozen=True)
class Chart:
    name: str
    label: str
    caption: str
    svg: Markup


def read_chart(file: Path, of_ladder: bool) -> Chart:
    """A chart's SVG for the page: in the page's colors, and with ids of its own."""
    name = file.stem
    svg = file.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<[^>]+>", lambda tag: adapt_tag(tag[0], name), svg)  # and what stands between tags as it is
    label, caption = CAPTIONS[name]
    return Chart(name, label, caption if of_ladder else NETWORKS.get(name, caption), Markup(svg))


def adapt_tag(tag: str, name: str) -> str:
    """A tag of a chart's SVG, with ids that begin with the chart's name, and the page's colors."""
    tag = re.sub(r'( id="|href="#|url\(#)', rf"\1{name}-", tag)
    for part, (light, _) in COLORS.items():
        tag = tag.replace(light, f"var(--{part})")
    return tag
