"""A study's table, charts, page and W&B runs, drawn from its records."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from ablations.analysis.doubts import find_doubts, list_seeds
from ablations.analysis.stats import Step, summarize
from ablations.analysis.tables import show_results, to_frame
from ablations.console import console, say
from ablations.report.charts import CHARTS, list_charts, plot_study
from ablations.report.confusion import MOST, Kept, has_confusions
from ablations.report.gallery import Gallery, make_gallery
from ablations.report.lettering import describe_undrawn
from ablations.report.page import write_report
from ablations.report.style import styled
from ablations.study.folder import Contents, StudyFolder
from ablations.study.keeping import Mode
from ablations.study.predictions import Answers
from ablations.study.steps import count
from ablations.study.trial import Plan
from ablations.training.seen import find_seen
from ablations.training.status import describe_mixture, describe_roundings
from ablations.training.wandb_log import choose_mode, send_result, send_summary
from convnext_path.data.datasets import open_data
from convnext_path.files import write_whole
from convnext_path.frozen import choose


class Drawn(NamedTuple):
    """What was written, and whether W&B has taken it, where it was asked."""

    files: list[Path]
    taken: bool


def draw(folder: StudyFolder, contents: Contents, wandb: Mode = "disabled", page: bool = True) -> Drawn:
    """Draw a study's table, charts and page for the folder, the screen and W&B. Raises an OSError."""
    plan, title = contents.plan, name_study(contents)
    steps, notes = summarize(plan, contents.results), list(note_flaws(contents))
    folder.make_room(["results.csv", "report.html", *(f"{name}.{kind}" for name in CHARTS for kind in ("png", "svg"))])
    console.print(show_results(steps))
    table = folder.folder / "results.csv"
    write_whole(table, to_frame(steps).to_csv(index=False, float_format="%.10g").encode(errors="backslashreplace"))
    doubts = find_doubts(plan, find_seen(plan, contents.results), list_seeds(contents.results))
    kept = read_kept(folder, steps, notes)
    if kept and not has_confusions(kept):
        notes.append(f"no confusion matrix: there are more than {MOST} classes")
    charts = plot_study(folder.folder, title, steps, kept)
    pages = []
    if page and contents.results:
        gallery = open_gallery(plan, kept, notes)
        pages = [write_report(folder, steps, charts, title, notes, doubts, kept, gallery)]
    files = [table, *charts, *pages]
    taken = bool(send_summary(folder, to_frame(steps), files, wandb))
    for file in files:
        say(f"wrote {file}")
    for warning in filter(None, [*notes, *doubts, describe_undrawn([title, *list_names(steps, kept)])]):
        say(f"warning: {warning}")
    return Drawn(files, taken)


def draw_chart(folder: StudyFolder, contents: Contents, name: str) -> Figure:
    """One of a study's charts. Raises a ValueError for a name that none has."""
    steps = summarize(contents.plan, contents.results)
    charts = list_charts(name_study(contents), steps, read_kept(folder, steps, []))
    with styled():
        return charts[choose("chart", name, charts)]()


def send(folder: StudyFolder, contents: Contents, mode: Mode) -> bool:
    """Send a study to W&B from its records: what was sent before is replaced. Returns whether all of it was taken."""
    mode = choose_mode(mode)
    taken = [draw(folder, contents, mode).taken]
    for number, result in enumerate(contents.results, 1):
        taken.append(bool(send_result(folder, result, mode)))
        say(f"{number}/{len(contents.results)}  {result.trial.description}")
    if mode == "offline" and any(taken):
        say(f"written; send with: wandb sync {shlex.quote(str(folder.folder / 'wandb'))}/offline-run-*")
    if not all(taken):
        say(f"{taken.count(False)} of {len(taken)} W&B runs could not be sent")
    return all(taken)


def list_names(steps: Sequence[Step], kept: Kept) -> Iterator[str]:
    """The names that charts hold."""
    for step in steps:
        yield from (step.rung.title, step.rung.section)
    yield from (name for answers in kept.values() for name in answers[0].classes)


def name_study(contents: Contents) -> str:
    """What its charts and its page are called."""
    plan = contents.plan
    return f"{plan.ladder} on {plan.data.title}{' (mixed origins)' if describe_mixture(contents.results) else ''}"


def read_kept(folder: StudyFolder, steps: Sequence[Step], notes: list[str]) -> dict[str, list[Answers]]:
    """What the networks answer on the same images, by the steps' titles, where that was kept; notes on what is not."""
    notes += [f"{file} {fault}" for file, fault in folder.find_damaged_answers().items()]
    found = {step.rung.title: [*filter(None, map(folder.read_answers, step.results))] for step in steps}
    images = Counter(answers.data for kept in found.values() for answers in kept)
    if not images:
        return {}
    ((data, same),) = images.most_common(1)
    if missing := sum(len(step.results) for step in steps) - same:
        notes.append(
            f"the answers of {count(missing, 'network')} were not kept, are damaged, or belong to other images; "
            "--keep trains these again"
        )
    kept = {title: [one for one in answers if one.data == data] for title, answers in found.items()}
    return {title: answers for title, answers in kept.items() if answers}


def open_gallery(plan: Plan, kept: Kept, notes: list[str]) -> Gallery | None:
    """Images with answers, where those were kept; a note in their place where the images are gone or others."""
    if not kept:
        return None
    try:
        splits = open_data(plan.data)
    except (ValueError, OSError) as error:
        notes.append(f"the page shows no test images: {error}")
        return None
    if splits.digest != next(iter(kept.values()))[0].data:
        notes.append("the page shows no test images: they have changed since the training")
        return None
    return make_gallery(splits, kept)


def note_flaws(contents: Contents) -> Iterator[str]:
    """What keeps a study from being whole and of one piece."""
    results, trials = contents.results, contents.plan.trials()
    if mixture := describe_mixture(results):
        yield f"records made by different code, versions or images are mixed: {mixture}"
    if roundings := describe_roundings(results):
        yield f"records made with different rounding are mixed: {roundings}"
    for file, why in contents.faults.items():
        yield f"left out: {file.name} {why}"
    if missing := len(trials) - len(results):
        yield f"{missing} of {len(trials)} trials have no result"
