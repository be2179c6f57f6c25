"""A study's table, charts, page and W&B runs, drawn from its records: what the words plot, report and wandb do."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, cast

from ablations.analysis.stats import Step, summarize
from ablations.analysis.tables import show_results, to_frame
from ablations.console import console, fail, say
from ablations.report.charts import plot_study
from ablations.report.confusion import Kept
from ablations.report.gallery import Gallery, make_gallery
from ablations.report.page import write_report
from ablations.study.folder import StudyFolder
from ablations.study.predictions import Answers
from ablations.study.trial import Plan, Result
from ablations.training.status import describe_mixture, describe_roundings
from ablations.training.wandb_log import MODES, Mode, choose_mode, send_result, send_summary
from convnext_path.data.datasets import open_data
from convnext_path.files import write_whole
from convnext_path.frozen import choose


def plot(args: Any) -> int:
    """Draw a study's table and charts again."""
    draw(open_study(args), page=False)
    return 0


def report(args: Any) -> int:
    """Draw a study again, with its page."""
    draw(open_study(args))
    return 0


def send(args: Any) -> int:
    """Send a study to W&B from its records: what was sent before is replaced."""
    study = open_study(args)
    try:
        mode = choose_mode(cast(Mode, choose("--mode", args.mode, MODES[1:])))
    except ValueError as error:
        fail(error)
    taken = [draw(study, mode)]
    for number, result in enumerate(results := study.results(), 1):
        taken.append(bool(send_result(study, result, mode)))
        say(f"{number}/{len(results)}  {result.trial.description}")
    if mode == "offline" and any(taken):
        say(f"written; send with: wandb sync {shlex.quote(str(study.folder / 'wandb'))}/offline-run-*")
    if not all(taken):
        say(f"{taken.count(False)} of {len(taken)} runs failed")
    return 0 if all(taken) else 1


def open_study(args: Any) -> StudyFolder:
    """A study to draw: with results, and with no faults unless they are to be left out."""
    study = StudyFolder(args.study)
    try:
        results, faults = study.results(), study.faults()
    except (ValueError, OSError) as error:
        fail(error)
    if faults and not args.partial:
        (file, why), *more = faults.items()
        others = f" (and {len(more)} more)" if more else ""
        fail(f"{file} {why}{others}; --partial draws the others, run trains what is lost again")
    if not results:
        fail(f"{study.folder} holds no finished trial")
    return study


def draw(study: StudyFolder, wandb: Mode = "disabled", page: bool = True) -> bool:
    """Draw a study's table, charts and page from its records, for the folder, the screen and W&B.

    Returns whether W&B has taken them, where it was asked.
    """
    plan, results = study.plan(), study.results()
    steps, notes = summarize(plan, results), list(note_flaws(study, plan, results))
    title = f"{plan.ladder} on {plan.data.title}{' (mixed origins)' if describe_mixture(results) else ''}"
    console.print(show_results(steps))
    table = study.folder / "results.csv"
    write_whole(table, to_frame(steps).to_csv(index=False, float_format="%.10g").encode())
    kept = read_kept(study, steps, notes)
    charts = plot_study(study.folder, title, steps, kept)
    pages = []
    if page and results:
        gallery = open_gallery(plan, kept, notes)
        pages = [write_report(study, steps, charts, title, notes, kept, gallery)]
    files = [table, *charts, *pages]
    taken = bool(send_summary(study, to_frame(steps), files, wandb))
    for file in files:
        say(f"wrote {file}")
    for note in notes:
        say(f"warning: {note}")
    return taken


def read_kept(study: StudyFolder, steps: Sequence[Step], notes: list[str]) -> dict[str, list[Answers]]:
    """What the networks answer on the same images, by the steps' titles, where that was kept; notes on what is not."""
    found = {step.rung.title: [*filter(None, map(study.read_answers, step.results))] for step in steps}
    images = Counter(answers.data for kept in found.values() for answers in kept)
    if not images:
        return {}
    ((data, same),) = images.most_common(1)
    if missing := sum(len(step.results) for step in steps) - same:
        notes.append(f"what {missing} networks answer was not kept, or is of other images; --keep trains them again")
    kept = {title: [one for one in answers if one.data == data] for title, answers in found.items()}
    return {title: answers for title, answers in kept.items() if answers}


def open_gallery(plan: Plan, kept: Kept, notes: list[str]) -> Gallery | None:
    """Images with answers, where those were kept; a note in their place where the images are gone or others."""
    if not kept:
        return None
    try:
        splits = open_data(plan.data)
    except (ValueError, OSError) as error:
        notes.append(f"without test images: {error}")
        return None
    if splits.digest != next(iter(kept.values()))[0].data:
        notes.append("without test images: they have changed since")
        return None
    return make_gallery(splits, kept)


def note_flaws(study: StudyFolder, plan: Plan, results: Sequence[Result]) -> Iterator[str]:
    """What keeps a study from being whole and of one piece."""
    if mixture := describe_mixture(results):
        yield f"records of several origins stand side by side: {mixture}"
    if roundings := describe_roundings(results):
        yield f"records made with several roundings stand side by side: {roundings}"
    for file, why in study.faults().items():
        yield f"left out: {file.name} {why}"
    if missing := len(plan.trials()) - len(results):
        yield f"{missing} of {len(plan.trials())} trials have no result"
