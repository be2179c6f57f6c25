"""What the command line's words do: run, cost, status, verify, bench; :mod:`publish` has plot, report and wandb."""

import contextlib
import json
import multiprocessing as mp
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ablations.analysis.tables import cost_rows, count_costs, show_costs
from ablations.bench.networks import DoesNotFitError, make_setting
from ablations.bench.overhead import TrialFailedError
from ablations.bench.report import report_networks, report_overhead, report_scaling
from ablations.cli.options import check_ranges, make_plan
from ablations.cli.parser import FORMATS, make_parser
from ablations.console import console, fail, say
from ablations.engines.choose import check_engine, choose_terms, share_cores
from ablations.engines.distributed import Team, find_rank
from ablations.engines.local import Failure, warm_up
from ablations.engines.repeat import repeat, repeat_all
from ablations.engines.scheduler import Terms, estimate_seconds, run_trials
from ablations.planning.budget import foresee
from ablations.report.publish import draw, plot, report, send
from ablations.study.folder import StudyFolder
from ablations.study.origin import Origin
from ablations.study.trial import Plan, Result, Trial
from ablations.training.checkpoint import is_damaged
from ablations.training.checks import MAX_IMAGE_SIZE, check_plan, check_weights
from ablations.training.provenance import origin
from ablations.training.status import State, Wanted, count_states, find_pending, list_roundings, show_states, survey
from ablations.training.trainer import count_processes, find_device
from ablations.training.wandb_log import MODES, choose_mode
from convnext_path import LADDERS, Recipe
from convnext_path.data.datasets import open_data, read_folders
from convnext_path.data.stream import check_empty, write_stream
from convnext_path.frozen import choose, within
from convnext_path.kernels.build import chosen
from convnext_path.ladder import choose_ladder


def run(args: Any) -> int:
    """Train what the plan holds and the study lacks; write the table and the charts."""
    with contextlib.ExitStack() as held:
        try:
            check_ranges(args)
            rank = find_rank(os.environ) if args.engine.name == "local" else None  # a Ray cluster's nodes may be srun's
            if rank and rank.number:
                return Team(rank).follow()
            team = held.enter_context(Team(rank)) if rank else None
            choose("--wandb mode", args.wandb, MODES)
            plan = make_plan(args)
            study = StudyFolder(args.study or f"results/{plan.ladder}-{plan.data.title}")
            merged = study.merge(plan)
            here = check_plan(plan)
            check_engine(args.engine, *count_processes(plan.trials()[0]), team)
            if args.join and merged != replace(study.plan(), data=plan.data):  # which may lie elsewhere
                raise ValueError(f"--join takes trials that {study.folder} has; this run would add some")
            if not args.join and not args.dry_run:
                held.enter_context(study.lead())
            terms = held.enter_context(choose_terms(plan, study, args, team, here))
            states, damaged = survey(study, plan, terms.wanted)
            pending = find_pending(states, args.keep_stale)
            check_weights(pending)
        except (ValueError, OSError) as error:
            fail(error)
        if pending and not args.dry_run:
            warm_up(args.wandb)
        show_plan(plan, study, states, pending, terms)
        if args.dry_run:
            return 0
        for file, why in damaged.items():
            say(f"damaged: {file} {why}; kept as {study.put_aside(file)}")
        terms = replace(terms, wandb=choose_mode(args.wandb) if pending else "disabled")
        if not args.join:
            study.begin(merged, args.command)
            if renamed := study.migrate():
                say(f"{renamed} records have today's ids now")
        return train_and_draw(study, pending, terms, args.join)


def compare(args: Any) -> int:
    """Train networks by name on the same images, and keep what they learned and what they answer."""
    args.keep = True
    return run(args)


def train_and_draw(study: StudyFolder, pending: Sequence[Trial], terms: Terms, join: bool) -> int:
    """Train what is pending; draw what there is. A driver that joined another leaves the drawing to it."""
    missing = run_trials(study, pending, console, terms, wait=not join)
    if not join:
        draw(study, terms.wandb)
    for trial, why in missing:
        say(f"no result: {trial.description}: {why}")
    return 1 if missing and not join else 0


def show_plan(plan: Plan, study: StudyFolder, states: Sequence[State], pending: Sequence[Trial], terms: Terms) -> None:
    """Say what will be trained on what, and about how long it takes."""
    splits = open_data(plan.data)
    count = len(splits.train_indices)
    images = f"{count} images to train, {len(splits.val_indices)} to validate"
    names = f" ({', '.join(r.name for r in plan.rungs)})" if len(plan.rungs) < 5 else ""
    lines = {
        "study": f"{study.folder}: {count_states(states)}",
        "ladder": f"{plan.ladder}: {len(plan.rungs)} rungs{names} x seeds {', '.join(map(str, plan.seeds))}",
        "data": f"{plan.data.title}: {splits.num_classes} classes, {images}, {splits.image_size} px",
        "recipe": ", ".join(describe_recipe(name, recipe, count) for name, recipe in plan.recipes),
    }
    stale = [state.note for state in states if state.kind == "stale"]
    if stale:
        fate = "trained again (--keep-stale keeps them)" if pending else "kept"
        lines["stale"] = f"{len(stale)} records, {fate}: {'; '.join(dict.fromkeys(stale))}"
    if roundings := list_roundings(states):
        lines["rounded"] = f"{'; '.join(roundings)} (--strict trains them again)"
    if pending:
        slots = terms.engine.slots
        time = timedelta(seconds=round(estimate_seconds(pending, slots)))
        lines["time"] = f"about {time}, {slots} at a time, from a few training steps"
    for name, line in (*lines.items(), *(("note", note) for note in splits.notes)):
        say(f"{name:8}{line}")


def describe_recipe(name: str, recipe: Recipe, images: int) -> str:
    return f"{name}: {recipe.epochs} epochs of {images // recipe.batch_size} steps of {recipe.batch_size} images"


def prepare(args: Any) -> int:
    """Make a stream of a folder of images, which ``--root`` takes in its place."""
    try:
        within("--workers", args.workers, 1, 1024)
        out = args.out if "://" in args.out else str(Path(args.out).expanduser())
        check_empty(out)
        classes, found = read_folders(args.root, args.skip_bad_images)
        with ProcessPoolExecutor(
            1, mp.get_context("spawn")
        ) as alone:  # litdata sets signals and ways to start processes
            alone.submit(write_stream, classes, found, out, args.workers).result()
    except (ValueError, OSError, RuntimeError) as error:
        fail(error)
    say(f"{sum(len(images.files) for images in found)} images in {out}; use it as --root")
    return 0


def print_costs(args: Any) -> int:
    """Count a ladder's costs, or those of the two that are published."""
    try:
        choose("--format", args.format, FORMATS)
        small = args.image_size < 128
        names = ["convnext-t", "convnext-b"] if args.ladder is None else [choose_ladder(args.ladder, small)]
        least = max(r.flags.min_image_size for name in names for r in LADDERS[name])
        within("--image-size", args.image_size, least, MAX_IMAGE_SIZE)
    except ValueError as error:
        fail(error)
    tables = {n: cost_rows(n, LADDERS[n], count_costs(LADDERS[n], args.image_size)) for n in names}
    if args.format == "table":
        for name, rows in tables.items():
            console.print(show_costs(rows, f"{name}, {args.image_size} x {args.image_size}"))
        return 0
    together = [row for rows in tables.values() for row in rows]
    print(json.dumps(together, indent=1) if args.format == "json" else pd.json_normalize(together).to_csv(index=False))
    return 0


def status(args: Any) -> int:
    """Show where a study stands, and what the next run of it would do."""
    study = StudyFolder(args.study)
    try:
        plan = study.plan()
        states, _ = survey(study, plan, Wanted(find_origin(plan)))
    except (ValueError, OSError) as error:
        fail(error)
    console.print(show_states(states))
    for line in list_roundings(states):
        say(line)
    say(f"{study.folder}: {count_states(states)}; the next run would train {len(find_pending(states))}")
    return 0


def find_origin(plan: Plan) -> Origin:
    """What a training here would have; where its images are not, that of all else."""
    try:
        return check_plan(plan)
    except ValueError as error:
        say(f"warning: {error}; records are compared by all but their images")
        return origin(find_device(plan.trials()[0]), "unknown", plan.threads)


def verify(args: Any) -> int:
    """Check every digest of a study; train one trial again, or the first steps of all, and compare."""
    study = StudyFolder(args.study)
    try:
        if args.again and args.trial:
            raise ValueError("--again and --trial are two checks; choose one")
        here = check_plan(study.plan())
        _, nodes = count_processes(study.plan().trials()[0])
        if (option := "--trial" if args.trial else "--again" if args.again else "") and nodes > 1:
            raise ValueError(f"a trial of this study takes {nodes} nodes, which {option} cannot have")
        chosen = find_trial(study, args.trial) if args.trial else None
        bad = list_damage(study)
        slots, _ = share_cores(study.plan(), "auto", 0, torch.get_num_threads())
        same = repeat_all(study, slots, say) if args.again else True
    except (ValueError, OSError) as error:
        fail(error)
    same = same and (chosen is None or verify_trial(chosen, here))
    return 0 if same and not bad else 1


def list_damage(study: StudyFolder) -> dict[Path, str]:
    """What is damaged in a study, said."""
    records, damaged = study.read()
    bad = damaged | {file: "is damaged" for file in study.checkpoints() if is_damaged(file)} | study.find_changed()
    for file, why in bad.items():
        say(f"{file} {why}")
    say(f"{len(records)} records whole, {len(bad)} files damaged")
    return bad


def find_trial(study: StudyFolder, text: str) -> Result:
    """The record that an id, or RUNG:SEED, means. Raises a ValueError where there is none."""
    names = {}
    for result in study.results():
        names[f"{result.trial.rung}:{result.trial.seed}"] = names[result.trial.id] = result
    return names[choose("trial", text, names)]


def verify_trial(record: Result, here: Origin) -> bool:
    """Train a record's trial again; whether the outcome is the same."""
    if differences := record.differences(here):
        say(f"warning: the record is of another origin: {'; '.join(differences)}")
    if roundings := record.roundings(here):
        say(f"warning: the record was made with other rounding: {'; '.join(roundings)}")
    again = repeat(record)
    outcome = again.summary if isinstance(again, Failure) else again.outcome
    say(f"{record.trial.description}: recorded {record.outcome}")
    verdict = "the same" if outcome == record.outcome else "ANOTHER"
    say(f"{record.trial.description}: repeated {outcome}: {verdict}")
    return outcome == record.outcome


def bench(args: Any) -> int:
    """Measure networks, a trial (``--overhead``) or many (``--scaling``); what was measured is kept, come what may."""
    reports = {"overhead": report_overhead, "scaling": report_scaling}
    asked = [name for name in reports if getattr(args, name)]
    try:
        if len(asked) > 1:
            raise ValueError("--overhead and --scaling are two benchmarks; choose one")
        setting = make_setting(args)
        name = asked[0] if asked else f"{setting.ladder}-{setting.device.replace(':', '')}"
        folder = Path(args.out or f"results/bench-{name}")
        folder.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        fail(error)
    try:
        reports.get(name, report_networks)(setting, folder, console)
    except (DoesNotFitError, ValueError) as error:
        fail(f"{error}; what was measured is in {folder}")
    except TrialFailedError as error:
        print(f"error: the trial failed: {error}; what was measured is in {folder}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say(f"stopped; what was measured is in {folder}")
        return 130
    return 0


def write_command(argv: Sequence[str]) -> str:
    """The command as a shell takes it, with the choice of kernels that the environment makes."""
    name = "CONVNEXT_PATH_KERNELS"
    kernels = f"{name}={shlex.quote(os.environ[name])} " if os.environ.get(name) else ""
    return kernels + shlex.join(("python", "-m", "ablations", *argv))


WORDS: dict[str, Callable[[Any], int]] = {
    "run": run,
    "compare": compare,
    "plan": foresee,
    "prepare": prepare,
    "cost": print_costs,
    "status": status,
    "verify": verify,
    "plot": plot,
    "report": report,
    "wandb": send,
    "bench": bench,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0; 1 a trial failed; 2 bad input; 130 Ctrl-C; 143 SIGTERM."""
    argv = sys.argv[1:] if argv is None else argv
    args = make_parser().parse_args(argv)
    args[args.subcommand].command = write_command(argv)
    try:
        chosen()
    except ValueError as error:
        fail(error)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else a training goes on, or ends as if it were done
    try:
        return WORDS[args.subcommand](args[args.subcommand])
    except OSError as error:
        print(f"error: {error}; what is done is kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what is done is kept: the same command goes on from here", file=sys.stderr)
        return 130
