"""Trials trained again, whole or in their first steps, to see whether a study's records still hold."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Literal

from ablations.engines.local import Failure, Job, Message, Steps, run_process
from ablations.study.folder import StudyFolder
from ablations.study.origin import Confirmation, Fingerprint, Origin
from ablations.study.trial import Result
from ablations.training.costs import trial_cost
from ablations.training.ranks import ALONE
from ablations.training.run import take_first_steps
from ablations.training.seen import describe_splits
from convnext_path.costs import Cost
from convnext_path.data.datasets import open_data
from convnext_path.frozen import choose

#: How far numbers may lie apart, relative to their size, where only rounding differs: ten times what was measured over
#: the trials of results/digits with other kernels, AVX2 in place of AVX-512, and two threads in place of one (5.6e-7).
BEFORE = 5e-6
#: Losses after a first step: SGD without a warm-up carried those 5.6e-7 to 0.11. The validation loss after the last one
#: went anywhere: like the weights it must be the same to the bit where machines round alike, and is free elsewhere.
AFTER = 0.25
#: A schedule is computed in double precision.
RATES = 1e-12
#: In 16 bits, so many times as far before the first step: 8.9e-5 for nine of these trials in bf16-mixed.
HALF = 2.0**10

Verdict = Literal["the same bit for bit", "the same except for rounding", "different", "without a fingerprint"]
EXACT: Verdict = "the same bit for bit"
ROUNDED: Verdict = "the same except for rounding"
DIFFERENT: Verdict = "different"
UNKNOWN: Verdict = "without a fingerprint"


@dataclass(frozen=True)
class Comparison:
    """A record, and what its trial gives with today's code and ``origin``; ``note`` says what differs, and how much."""

    record: Result
    verdict: Verdict
    note: str = ""
    origin: Origin = Origin()  # noqa: RUF009 - frozen

    @property
    def is_same(self) -> bool:
        """Whether the record holds for today's code: bits may differ only where the machine rounds otherwise."""
        return self.verdict == EXACT or (self.verdict == ROUNDED and bool(self.record.roundings(self.origin)))

    def __str__(self) -> str:
        return f"{self.record.trial.description}: {self.verdict}{f' ({self.note})' if self.note else ''}"


def repeat(record: Result) -> Result | Failure:
    """Train a record's trial again, beside the study."""
    with TemporaryDirectory() as folder:
        job = Job(record.trial, trial_cost(record.trial), Path(folder), Path(folder))
        again = run_process(job, lambda epoch: None)
    assert not isinstance(again, Steps)
    return again


def find_record(records: Sequence[Result], name: str) -> Result:
    """The record that an id, or RUNG:SEED, means. Raises a ValueError where there is none."""
    names = {}
    for record in records:
        names[f"{record.trial.rung}:{record.trial.seed}"] = names[record.trial.id] = record
    return names[choose("trial", name, names)]


def verify_trial(record: Result, here: Origin, tell: Callable[[str], None]) -> bool:
    """Train a record's trial again; whether the outcome is the same."""
    if differences := record.differences(here):
        tell(f"warning: the record was made by other code, versions or images: {'; '.join(differences)}")
    if roundings := record.roundings(here):
        tell(f"warning: the record was made with different rounding: {'; '.join(roundings)}")
    again = repeat(record)
    outcome = again.summary if isinstance(again, Failure) else again.outcome
    tell(f"{record.trial.description}: recorded {record.outcome}")
    verdict = "the same" if outcome == record.outcome else "DIFFERENT"
    tell(f"{record.trial.description}: repeated {outcome}: {verdict}")
    return outcome == record.outcome


def work_steps(job: Job, send: Callable[[Message], None]) -> None:
    """What a process does that takes a trial's first steps."""
    send(Steps(*take_first_steps(job.trial, job.loader_workers, job.rank or ALONE)))


def compare_steps(record: Result, cost: Cost) -> Comparison:
    """Take the first steps of a record's trial again, whose network costs ``cost`` today."""
    if cost != record.cost:
        return Comparison(record, DIFFERENT, f"costs: {record.cost} in the record, {cost} here")
    if record.fingerprint is None:
        return Comparison(record, UNKNOWN, "the record is older than fingerprints; --trial trains it again")
    again = run_process(Job(record.trial, record.cost, Path(), Path()), lambda epoch: None, work_steps)
    if isinstance(again, Failure):
        return Comparison(record, DIFFERENT, again.summary)
    assert isinstance(again, Steps)
    there, here = (dict(origin.experiment).get("data") for origin in (record.origin, again.origin))
    if there != here:
        return Comparison(record, DIFFERENT, f"images: {there} in the record, {here} here", again.origin)
    half = "16" in str(dict(record.trial.trainer).get("precision", ""))
    found = compare_fingerprints(record.fingerprint, again.fingerprint, HALF if half else 1.0)
    return Comparison(record, *found, again.origin)


def compare_fingerprints(there: Fingerprint, here: Fingerprint, factor: float = 1.0) -> tuple[Verdict, str]:
    """Whether two fingerprints are the same, and in what they differ most; ``factor`` widens the bounds of losses."""
    if there == here:
        return EXACT, ""
    for name in ("optimizer", "losses", "validation", "rates", "sketches"):
        old, new = getattr(there, name), getattr(here, name)
        if old != new and (isinstance(old, str) or len(old) != len(new)):
            return DIFFERENT, f"{name}: {old} in the record, {new} here"
    gaps = ((math.inf if math.isnan(gap) else gap, note) for gap, note in measure_gaps(there, here, factor))
    excess, note = max(gaps)
    return (ROUNDED if excess <= 1 else DIFFERENT), note or "only after the first step"


def measure_gaps(there: Fingerprint, here: Fingerprint, factor: float) -> Iterator[tuple[float, str]]:
    """For each number that differs, how many times its bound that is, and both values; once more for none."""
    yield 0.0, ""
    for name, old, new, bound in list_numbers(there, here, factor):
        if old != new:
            yield abs(new - old) / max(abs(old), 1e-12) / bound, f"{name}: {old:.8g} in the record, {new:.8g} here"
    for before, after in zip(there.sketches, here.sketches, strict=True):
        gap = math.hypot(after.size - before.size, after.projection - before.projection) / max(before.size, 1e-12)
        yield gap / (BEFORE * factor), f"{before.name}: they differ by {gap:.2g} of their size" if gap else ""


def list_numbers(there: Fingerprint, here: Fingerprint, factor: float) -> Iterator[tuple[str, float, float, float]]:
    """The names of the numbers that have a bound, both values, and the bound."""
    for step, (old, new) in enumerate(zip(there.losses, here.losses, strict=True), 1):
        yield f"training loss {step}", old, new, BEFORE * factor if step == 1 else AFTER
    yield "validation loss before the first step", there.validation[0], here.validation[0], BEFORE * factor
    for epoch, (old, new) in enumerate(zip(there.rates, here.rates, strict=True), 1):
        yield f"learning rate after epoch {epoch}", old, new, RATES


def compare_all(records: Sequence[Result], workers: int, tell: Callable[[str], None]) -> list[Comparison]:
    """Take the first steps of each record's trial again, several at a time; ``tell`` hears of each."""
    found = []
    # Counting parses source code, which Python 3.11 cannot do in two threads at once.
    costs = [trial_cost(record.trial) for record in records]
    with ThreadPoolExecutor(workers) as pool:
        for number, comparison in enumerate(pool.map(compare_steps, records, costs), 1):
            found.append(comparison)
            tell(f"{number}/{len(records)}  {comparison}")
    return found


def draw_one(study: StudyFolder, records: Sequence[Result]) -> Result:
    """The record whose trial is trained whole: it follows from the study's name, so that nobody picks it."""
    return Random(study.name).choice(sorted(records, key=lambda record: record.trial.id))


def compare_whole(record: Result) -> Comparison:
    """Train a record's trial again from beginning to end; there are no bounds, so that elsewhere any end will do."""
    again = repeat(record)
    if isinstance(again, Failure):
        return Comparison(record, DIFFERENT, again.summary)
    if again.outcome == record.outcome:
        return Comparison(record, EXACT, f"top-1 {again.top1:.2f} %", again.origin)
    verdict = ROUNDED if record.roundings(again.origin) else DIFFERENT
    return Comparison(
        record, verdict, f"top-1 {record.top1:.2f} % in the record, {again.top1:.2f} % here", again.origin
    )


def confirm(study: StudyFolder, comparisons: Sequence[Comparison]) -> int:
    """Enter today's code, dated, beside the old into the records that it gives again; return how many that were.

    What a record lacks of the images that its trial has seen is entered too: they are the same.
    """
    date, entered = datetime.now(UTC).isoformat(timespec="seconds"), 0
    for one in comparisons:
        code, record = str(dict(one.origin.experiment)["code"]), one.record
        known = record if record.seen else replace(record, seen=describe_splits(open_data(record.trial.data)))
        if code not in record.codes:
            later = Confirmation(code, date, one.verdict == EXACT)
            known = replace(known, confirmed=(*record.confirmed, later))
            entered += 1
        if known != record:
            study.amend(known)
    return entered


def repeat_all(study: StudyFolder, workers: int, tell: Callable[[str], None]) -> bool:
    """Take all records' first steps again, and train one whole; where all are the same, enter today's code.

    Returns whether all are.

    Raises:
        ValueError: no records, or another driver is at work.
    """
    with study.lead():
        records = study.results()
        if not records:
            raise ValueError(f"{study.folder} has no finished trial")
        found = compare_all(records, workers, tell)
        tell(f"{len(records)} records: {count_verdicts(found)}")
        same = all(one.is_same for one in found)
        if same:
            whole = compare_whole(draw_one(study, records))
            tell(f"one complete trial: {whole}")
            same = whole.is_same
        tell(
            describe_entry(confirm(study, found))
            if same
            else "the records stay unchanged; today's code was not added to them"
        )
    return same


def count_verdicts(found: Sequence[Comparison]) -> str:
    """How many of each: 50 the same to the bit, 1 different."""
    counts = Counter(one.verdict for one in found)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def describe_entry(entered: int) -> str:
    return (
        f"{entered} records now hold for today's code too" if entered else "the records already hold for today's code"
    )
