"""A benchmark's rows: for files, for the screen, as a chart."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from ablations.analysis.tables import show_count
from ablations.bench import folder as bench
from ablations.bench.networks import PHASES, Row, Setting, measure
from ablations.bench.overhead import PLAN, Pair, measure_overhead
from ablations.bench.scaling import Scaled, measure_scaling
from ablations.bench.steps import OURS
from ablations.report.scatter import PACE, Timed, add_legend, draw_points, measure_legend
from ablations.report.style import save_chart, start_chart, write_below
from ablations.training.memory import keep_freed_memory, limited_memory
from ablations.training.provenance import environment, origin
from ablations.training.timing import find_quartiles
from convnext_path.kernels.build import use_kernels
from convnext_path.networks.peer_names import PACKAGES


def list_terms(name: str, setting: Setting) -> dict[str, Any]:
    """What a benchmark is of: a trial's plan for those of its overhead and of scaling, else networks."""
    if name in ("overhead", "scaling"):
        return PLAN.to_dict()
    return setting.to_dict() | {"rungs": [rung.name for rung in setting.rungs]}


def write(folder: Path, terms: Mapping[str, object], device: str, frame: pd.DataFrame) -> None:
    """What was measured, where, with which versions, and what came out. Raises an OSError."""
    with use_kernels(OURS):
        here = dict(origin(torch.device(device), "random", torch.get_num_threads()).facts) | environment()
    here |= {peer: version(peer) for peer in PACKAGES if find_spec(peer)}
    bench.write(folder, terms, here, frame.to_csv(index=False, float_format="%.6g"))


def report_networks(setting: Setting, folder: Path, console: Console) -> None:
    """Measure; write what there is after each case, and draw and show it whether or not there is more to come.

    Raises:
        DoesNotFitError: a step does not fit into memory.
        OSError: a file cannot be written.
    """
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    terms = list_terms("networks", setting)
    rows: list[Row] = []
    keep_freed_memory()  # as in trials
    try:
        with limited_memory(torch.device(setting.device)):
            for case in measure(setting, say):
                rows += case
                write(folder, terms, setting.device, to_frame(rows))
                say(f"{case[0].rung}, {case[0].precision}, {case[0].task}: {show_rate(case[0])} images/s")
    finally:
        if rows:
            title = f"{setting.ladder}, {setting.image_size} px, batches of {setting.batch_size}"
            save_chart(folder / "times", lambda: draw_times(rows, title))
            console.print(show_rows(rows))


def report_overhead(setting: Setting, folder: Path, console: Console) -> None:
    """Train in pairs, as ``run`` does and bare; write each pair as it is done, and say what they come to.

    Raises:
        OSError: a file cannot be written.
    """
    pairs: list[Pair] = []
    for pair in measure_overhead(PLAN, setting.repeats):
        pairs.append(pair)
        frame = pd.DataFrame({**p.to_dict(), "overhead": p.overhead} for p in pairs)
        write(folder, PLAN.to_dict(), setting.device, frame)
        console.print(f"trial {pair.trial:.2f} s, bare loop {pair.bare:.2f} s: overhead {pair.overhead:+.1%}")
    low, median, high = find_quartiles([pair.overhead for pair in pairs])
    console.print(f"overhead of a trial: {median:+.1%}, quartiles {low:+.1%} and {high:+.1%}")


def report_scaling(setting: Setting, folder: Path, console: Console) -> None:
    """Run trials of known length, few and many at a time; write each figure as it is there.

    Raises:
        OSError: a file cannot be written.
    """
    rows: list[Scaled] = []
    for row in measure_scaling(10 * setting.seconds):
        rows.append(row)
        frame = pd.DataFrame(
            {**r.to_dict(), "trials_per_hour": r.trials_per_hour, "efficiency": r.efficiency} for r in rows
        )
        write(folder, PLAN.to_dict(), "cpu", frame)
        console.print(
            f"{row.engine}, {row.at_once} at a time: {row.trials_per_hour:.0f} trials/hour, "
            f"efficiency {row.efficiency:.0%}"
        )


def to_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Rates in images/s and FLOP/s, memory in bytes, milliseconds of an image, shares between 0 and 1."""
    return pd.DataFrame(
        {name: value for name, value in row.to_dict().items() if name != "shares"}
        | {"milliseconds": row.milliseconds, "fraction": row.fraction}
        | {f"{phase}_share": share for phase, share in zip(PHASES, row.shares or [None] * 4, strict=True)}
        for row in rows
    )


def choose_best(rows: Sequence[Row]) -> dict[str, Row]:
    """Of rows of one case, the fastest way of each source."""
    return {row.source: row for row in sorted(rows, key=lambda row: row.images_per_second)}


def show_rows(rows: Sequence[Row]) -> Table:
    """A line a case under its rung: our best way, and how many times as fast it is as the best of each peer."""
    peers = list(dict.fromkeys(row.source for row in rows if row.source != "ours"))
    caption = (
        "images/s: median ± half the distance between the quartiles. peak: share of the FLOP/s of a matrix product. "
        f"parts: share of the time for {', '.join(PHASES)}. ×: how many times as fast as the peer's fastest variant."
    )
    table = Table(caption=caption, box=box.SIMPLE, show_edge=False, padding=0)
    table.add_column("rung")
    for column in ("images/s", "memory", "peak", "parts %", *peers):
        table.add_column(column, justify="right", no_wrap=True)
    for rung, cases in groupby(rows, lambda row: row.rung):
        table.add_row(rung, style="bold")
        for (precision, task), entrants in groupby(cases, lambda row: (row.precision, row.task)):
            table.add_row(f"  {precision} {task}", *list_measures(choose_best(list(entrants)), peers))
    return table


def list_measures(best: Mapping[str, Row], peers: Sequence[str]) -> list[str]:
    """The columns of a case, from the best row of each source."""
    ours = best["ours"]
    return [
        show_rate(ours),
        show_count(ours.peak_memory) + "B",
        f"{ours.fraction:.0%}",
        "/".join(f"{100 * share:.0f}" for share in ours.shares or ()),
        *(f"×{ours.images_per_second / best[peer].images_per_second:.2f}" if peer in best else "" for peer in peers),
    ]


def show_rate(row: Row) -> str:
    return f"{row.images_per_second:.4g} ±{(row.high - row.low) / 2 / row.images_per_second:.0%}"


def draw_times(rows: Sequence[Row], title: str) -> Figure:
    """Measured time against MACs: a panel a precision and task, a point a rung. The line is the first rung's rate."""
    ours = [row for row in rows if (row.source, row.way) == ("ours", "channels_last")]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(row.rung for row in ours), 1)}
    cases = list(dict.fromkeys((row.precision, row.task) for row in ours))
    columns = min(len(cases), 2)  # training and inference
    panels = [[time_row(row, numbers[row.rung]) for row in ours if (row.precision, row.task) == case] for case in cases]
    legend = measure_legend([timed.point for timed in panels[0]])
    figure = start_chart(title, max(4 * math.ceil(len(cases) / columns) + 0.3, legend), 4.4 * columns + 2)
    for place, (case, timed) in enumerate(zip(cases, panels, strict=True), 1):
        axes = figure.add_subplot(math.ceil(len(cases) / columns), columns, place)
        draw_points(axes, timed)
        axes.set_title(f"{case[1]}, {case[0]}")
    write_below(figure, "multiply-accumulates per image (convolutions and classifier)")
    figure.supylabel("milliseconds per image", size=10)
    add_legend(figure.axes[0], PACE, figure.axes[columns - 1])
    return figure


def time_row(row: Row, number: int) -> Timed:
    return Timed(number, row.rung, row.macs, 1000 / row.high, row.milliseconds, 1000 / row.low)
