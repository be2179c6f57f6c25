"""A study's charts as parts of its page."""

import re
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ablations.report.style import COLORS

CAPTIONS = {
    "accuracy": ("Accuracy by step", "A dot a seed; hatched: tried; hollow, dotted: references. Gray: the paper's."),
    "changes": ("Changes of accuracy by step, with intervals", "What each step changes, seed by seed."),
    "road": ("Accuracy against multiply-accumulates", "The road in accuracy and multiply-accumulates."),
    "road-seconds": ("Accuracy against seconds of training", "The same against measured time."),
    "times": ("Time against multiply-accumulates", "What counting multiply-accumulates hides."),
    "confusion": ("Which classes are taken for which", "Lines: classes; columns: answers; in % of a class's images."),
    "curves": ("Learning curves of every step", "Validation accuracy by epoch, a line a seed."),
}  # fmt: skip

#: Captions of charts of networks side by side.
NETWORKS = {
    "accuracy": "A dot a seed.",
    "road": "What accuracy takes, in multiply-accumulates.",
    "curves": "Validation accuracy by epoch, a line a seed.",
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
