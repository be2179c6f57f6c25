"""A study as one page of HTML that needs no network: what each step buys, how sure that is, and what it costs."""

import inspect
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ablations.analysis.doubts import Doubt
from ablations.analysis.stats import VERDICTS, Step, compare_answers, correct, is_ladder, name_row
from ablations.analysis.tables import MEASURES, Measure, explain, show_estimate, show_number, weigh
from ablations.report.blocks import Change, compare
from ablations.report.confusion import Kept
from ablations.report.facts import list_failures, state_facts
from ablations.report.gallery import Gallery
from ablations.report.inline import read_chart
from ablations.report.style import COLORS
from ablations.study.folder import StudyFolder
from ablations.study.steps import count
from ablations.study.trial import Plan
from convnext_path.files import write_whole
from convnext_path.words import show_name

#: What the page answers: of networks side by side, of a ladder's steps.
QUESTIONS = (
    "Which of these networks is best on the same images? How sure is that, and what does each cost?",
    "How does each step change accuracy here? How sure is that, and what does it cost?",
)

DEVIATIONS = (
    "The paper trains on ImageNet-1K at 224 x 224 for 300 epochs. Its changes are shown for comparison; they come from "
    "another experiment.",
    "Layer scale, stochastic depth and initialization belong to the recipe. Rungs with the same recipe share them.",
    "docs/deviations.md in the repository lists what the paper leaves open and what this project chose.",
)


@dataclass(frozen=True)
class Row:
    """One step on the page."""

    place: int
    title: str
    tried: bool
    verdict: str
    gap: str
    cells: Sequence[tuple[str, float | None]]  # a text for each measure, and what it is sorted by
    what: str
    finding: str
    changes: Sequence[Change]


def write_report(
    study: StudyFolder,
    steps: Sequence[Step],
    charts: Sequence[Path],
    title: str,
    notes: Sequence[str],
    doubts: Sequence[Doubt],
    kept: Kept,
    gallery: Gallery | None,
) -> Path:
    """Write ``report.html`` into the study's folder; ``notes`` and ``doubts`` are what its reader must mind."""
    plan, results = study.plan(), [result for step in steps for result in step.results]
    columns = [name for name in MEASURES if any(MEASURES[name].show(step) for step in steps)]
    rows = make_rows(steps, plan, columns)
    of_ladder = is_ladder(steps)
    has_blocks = any(change.part == "block" for row in rows for change in row.changes)  # of the paper's networks
    page = load_template().render(
        title=title,
        colors=COLORS,
        warnings=notes,
        question=QUESTIONS[of_ladder],
        answer=list(answer(steps, kept)),
        doubts=doubts,
        charts=[read_chart(file, of_ladder) for file in charts if file.suffix == ".svg"],
        verdicts=VERDICTS,
        columns=[name_row(steps), *(["verdict"] if of_ladder else []), *columns],
        rows=rows,
        widest=max(line.channels or 1 for row in rows for change in row.changes for line, _ in change.after),
        explanation=" ".join(explain(steps)),
        commands="\n".join(study.commands()),
        facts=list(state_facts(plan, results)),
        failures=list(list_failures(study, plan, results)),
        gallery=gallery,
        has_blocks=has_blocks,
        deviations=DEVIATIONS if has_blocks and of_ladder else (),
    )
    file = study.folder / "report.html"
    write_whole(file, page.encode(errors="backslashreplace"))  # names of files may be no text
    return file


def load_template() -> Any:
    """The page's; names in a study are no markup, and may hold what is no text."""
    where = PackageLoader("ablations.report")
    pages = Environment(loader=where, autoescape=True, undefined=StrictUndefined, finalize=show_text)
    return pages.get_template("report.html")


def show_text(content: Any) -> Any:
    """What the page says, line by line as a name is shown; charts as they are."""
    if not isinstance(content, str) or isinstance(content, Markup):
        return content
    return "\n".join(map(show_name, content.split("\n")))


def answer(steps: Sequence[Step], kept: Kept) -> Iterator[str]:
    """What the page says first."""
    if not is_ladder(steps) and sum(bool(step.results) for step in steps) > 1:
        yield compare_seeds(steps) if any(step.top1.n > 1 for step in steps) else compare_images(steps, kept)
        return
    done = [step for step in steps if step.results]
    road = [step for step in done if step.rung.adopted]
    if len(road) > 1:
        yield describe_road(road[0], road[-1])
    elif not any(step.change.n for step in done):
        yield from (f"{step.rung.title}: top-1 {show_estimate(step.top1)} %." for step in done)
    yield from count_verdicts(steps)
    yield from weigh(steps)


def describe_road(first: Step, last: Step) -> str:
    """From one end to the other, in a sentence."""
    change = replace(last, base=first).change
    ends = f"{show_estimate(first.top1)} % to {show_estimate(last.top1)} %"
    whole = f"From {first.rung.title} to {last.rung.title}, top-1 accuracy goes from {ends}"
    if not change.n:
        return f"{whole}; no seed has a result for both."
    paired = change.n == len(first.results) == len(last.results)
    over = "" if paired else f", over {count(change.n, 'seed')} with results for both"
    return f"{whole}: {show_estimate(change, '{:+.2f}')} points{over}."


def compare_seeds(steps: Sequence[Step]) -> str:
    """Of networks side by side, trained from several seeds, which is best, and what it is told from."""
    best, *others = sorted((step for step in steps if step.results), key=lambda step: -step.top1.mean)
    ps = correct([replace(other, base=best).change.p for other in others])
    shown = [f"{step.title} {show_estimate(step.top1)} %" for step in (best, *others)]
    told = [name + show_number(p, " (p {:.2g})") for name, p in zip(shown, (math.nan, *ps), strict=True)]
    return (
        f"Top-1 accuracy, mean over seeds: {', '.join(told)}. p: of the differences from {best.title}, seed by seed, "
        "after Holm's correction."
    )


def compare_images(steps: Sequence[Step], kept: Kept) -> str:
    """Of networks side by side, each trained once, how many of the same images each has right."""
    best, *others = sorted((step for step in steps if step.results), key=lambda step: -step.top1.mean)
    first = {title: answers[0] for title, answers in kept.items()}
    if best.title not in first:
        return f"Top-1 accuracy: {', '.join(f'{step.title} {show_estimate(step.top1)} %' for step in (best, *others))}."
    rivals = {other.title: first[other.title] for other in others if other.title in first}
    ps = correct([compare_answers(first[best.title], rival) for rival in rivals.values()])
    told = [f"{name} {rival.right.sum()} (p {p:.2g})" for (name, rival), p in zip(rivals.items(), ps, strict=True)]
    return (
        f"Images classified correctly, of the same {len(first[best.title].truth)}: {best.title} "
        f"{first[best.title].right.sum()}, {', '.join(told)}. p: how often two equally good networks would differ at "
        f"least this much by chance (McNemar's exact test against {best.title}, after Holm's correction). This holds "
        "for these trained networks only: with another seed the order may change. More --seeds would show that."
    )


def count_verdicts(steps: Sequence[Step]) -> Iterator[str]:
    """How many of the changes can be told from chance, and which."""
    changed = [step for step in steps if step.change.n]
    if changed and all(step.change.n == 1 for step in changed):
        yield "No verdicts: each change comes from one seed."
        return
    for verdict in VERDICTS:
        names = [f"{s.title} ({show_estimate(s.change, '{:+.2f}')})" for s in changed if s.verdict == verdict]
        if names:
            yield f"{verdict.capitalize()}, {len(names)} of {count(len(changed), 'step')}: {', '.join(names)}."


def make_rows(steps: Sequence[Step], plan: Plan, columns: Sequence[str]) -> list[Row]:
    recipes = dict(plan.recipes)
    return [
        Row(
            place=place,
            title=step.title,
            tried=step.rung.is_tried,
            verdict=step.verdict,
            gap=step.gap,
            cells=[make_cell(MEASURES[name], step) for name in columns],
            what=explain_flags(type(step.rung.flags)).get(step.rung.change[0], "") if step.base else "",
            finding=describe_finding(step),
            changes=compare(step.base.rung if step.base else None, step.rung, recipes),
        )
        for place, step in enumerate(steps, 1)
    ]


def make_cell(measure: Measure, step: Step) -> tuple[str, float | None]:
    value = measure.value(step)
    return measure.show(step), None if math.isnan(value) else value


def explain_flags(flags: type) -> dict[str, str]:
    """What a step does, by the flag that it sets: the sentences of the flags' own documentation."""
    items = re.findall(r"^ *- ``(\w+)`` \(([^)]+)\): (.*?)(?=^ *- ``|\n\n)", flags.__doc__ or "", re.M | re.S)
    texts = {
        name: (section, inspect.cleandoc(text).replace("``", "").replace("\n", " ")) for name, section, text in items
    }
    texts["recipe"] = ("2.1", "the training recipe (optimizer, schedule, augmentation, regularization).")
    return {name: f"{'Section ' * place[0].isdigit()}{place}: {text}" for name, (place, text) in texts.items()}


def describe_finding(step: Step) -> str:
    """What came of it, in a sentence."""
    if not step.results:
        return "It has no result."
    if not step.change.n:
        return f"Top-1 accuracy: {show_estimate(step.top1)} %."
    change, paper = show_estimate(step.change, "{:+.2f}"), show_number(step.paper_change, "; in the paper: {:+.2f}")
    told = f" ({step.verdict})" if step.change.n > 1 else ""
    assert step.base is not None
    return f"Change from {step.base.rung.title}: {change} points{told}{paper}."
