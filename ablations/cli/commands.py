"""What the command line's words do: options are read, the rooms below are called, exit codes are given.

What takes seconds to import is imported once the options are found to be good.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from jsonargparse import Namespace

from ablations import api
from ablations.bench.request import BenchRequest
from ablations.cli.errors import describe, fail, print_error, told
from ablations.cli.options import read_options
from ablations.cli.parser import FORMATS, make_parser
from ablations.cli.stops import Stops
from ablations.console import console, say
from ablations.engines.resources import Resources
from ablations.planning.profiles import Machine
from ablations.study.folder import StudyFolder, read_study
from ablations.study.keeping import Keeping, choose_sending
from ablations.study.places import find_folder
from ablations.study.request import LadderRequest, ModelsRequest, Request, choose_ladders, make_plan
from ablations.study.steps import count
from convnext_path.frozen import choose
from convnext_path.words import mask


def run(args: Namespace) -> int:
    """Train what the plan holds and the study lacks; write the table and the charts."""
    return train(args, LadderRequest)


def compare(args: Namespace) -> int:
    """Train networks by name on the same images, and keep what they learned and what they answer."""
    args.keep = True
    return train(args, ModelsRequest)


def train(args: Namespace, kind: type[Request]) -> int:
    with ExitStack() as held:
        with told():
            keeping, resources = read_options(Keeping, args), read_options(Resources, args)
            plan = make_plan(read_options(kind, args))
            from ablations.driver import open_run

            ready = held.enter_context(open_run(plan, keeping, resources))
        ready.show()
        missing = ready.train(args.command)
    return 1 if missing and not keeping.join else 0


def foresee(args: Namespace) -> int:
    """Show what a run would take."""
    with told():
        read_options(Keeping, args)  # of no use here, but looked at as for a run
        machine, resources = read_options(Machine, args), read_options(Resources, args)
        plan = make_plan(replace(read_options(LadderRequest, args), here=machine.is_here))
        from ablations.planning import budget

        found = budget.foresee(plan, machine, resources)
    console.print(budget.show_budget(found))
    for line in (found.source, *found.describe(machine.at_once, machine.price)):
        say(line)
    return 0 if found.fits else 1


def prepare(args: Namespace) -> int:
    """Make a stream of a folder of images, which ``--root`` takes in its place."""
    with told():
        images = api.prepare(args.root, args.out, args.workers, args.skip_bad_images)
    say(f"wrote {images} images to {args.out}; give this to --root")
    return 0


def print_costs(args: Namespace) -> int:
    """Count a ladder's costs, or those of the two that are published."""
    with told():
        choose("--format", args.format, FORMATS)
        names = choose_ladders(args.ladder, args.image_size)
        from ablations.analysis.tables import count_ladder, show_costs
        from convnext_path.kernels.build import chosen

        chosen()
    tables = {name: count_ladder(name, args.image_size) for name in names}
    if args.format == "table":
        for name, rows in tables.items():
            console.print(show_costs(rows, f"{name}, {args.image_size} x {args.image_size}"))
    elif args.format == "json":
        print(json.dumps([row for rows in tables.values() for row in rows], indent=1))
    else:
        print(api.costs(args.ladder, args.image_size).to_csv(index=False))
    return 0


def status(args: Namespace) -> int:
    """Show where a study stands, and what the next run of it would do."""
    with told():
        study = api.open_study(args.study)
        states = study.status()
    from ablations.training.status import count_states, find_pending, list_roundings, show_states

    console.print(show_states(states))
    for line in list_roundings(states):
        say(line)
    say(f"{study.folder}: {count_states(states)}; the next run would train {count(len(find_pending(states)), 'trial')}")
    return 0


def verify(args: Namespace) -> int:
    """Check every digest of a study; train one trial again, or the first steps of all, and compare."""
    with told():
        if args.again and args.trial:
            raise ValueError("--again and --trial are different checks; choose one")
        study = api.open_study(args.study)
        bad, same = study.verify(), True
        for file, why in bad.items():
            say(f"{file} {why}")
        say(f"{study.count_records()} records intact, {len(bad)} files damaged")
        if args.trial:
            same = study.verify_trial(args.trial)
        elif args.again:
            same = study.verify_again()
    return 0 if same and not bad else 1


def plot(args: Namespace) -> int:
    """Draw a study's table and charts again."""
    return draw(args, page=False)


def report(args: Namespace) -> int:
    """Draw a study again, with its page."""
    return draw(args, page=True)


def draw(args: Namespace, page: bool) -> int:
    with told():
        folder = StudyFolder(args.study)
        contents = read_study(folder, args.partial)
    from ablations.report import publish

    publish.draw(folder, contents, page=page)
    return 0


def send(args: Namespace) -> int:
    """Send a study to W&B from its records: what was sent before is replaced."""
    with told():
        folder = StudyFolder(args.study)
        contents = read_study(folder, args.partial)
        mode = choose_sending(args.mode)
    from ablations.report import publish

    return 0 if publish.send(folder, contents, mode) else 1


def bench(args: Namespace) -> int:
    """Measure networks, a trial (``--overhead``) or many (``--scaling``); what was measured is kept, come what may."""
    asked = [name for name in ("overhead", "scaling") if args[name]]
    with told():
        if len(asked) > 1:
            raise ValueError("--overhead and --scaling are different benchmarks; choose one")
        request = read_options(BenchRequest, args)
        from ablations.bench import networks, report
        from ablations.bench.folder import check_folder
        from ablations.bench.overhead import TrialFailedError

        setting = networks.make_setting(request)
        name = asked[0] if asked else f"{setting.ladder}-{setting.device.replace(':', '')}"
        folder = find_folder(f"results/bench-{name}" if args.out is None else args.out)
        check_folder(folder, report.list_terms(name, setting))
        folder.mkdir(parents=True, exist_ok=True)
    reports = {"overhead": report.report_overhead, "scaling": report.report_scaling}
    try:
        reports.get(name, report.report_networks)(setting, folder, console)
    except (networks.DoesNotFitError, ValueError) as error:
        fail(f"{error}; the measurements so far are in {folder}")
    except TrialFailedError as error:
        print_error(f"the trial failed: {error}; the measurements so far are in {folder}")
        return 1
    except KeyboardInterrupt:
        say(f"stopped; the measurements so far are in {folder}")
        return 130
    return 0


def write_command(argv: Sequence[str]) -> str:
    """The command as a shell takes it, with the choice of kernels that the environment makes, without secrets."""
    name = "CONVNEXT_PATH_KERNELS"
    kernels = f"{name}={shlex.quote(os.environ[name])} " if os.environ.get(name) else ""
    return mask(kernels + shlex.join(("python", "-m", "ablations", *argv)))


WORDS: dict[str, Callable[[Namespace], int]] = {
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


#: What a command that trains leaves behind, and how to go on.
KEPT, RESUMED = "; finished work is kept", ", and the same command resumes the run"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0; 1 a trial failed; 2 bad input; 130 Ctrl-C; 143 SIGTERM; 129 SIGHUP."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        args = make_parser().parse_args(argv or ["--help"])
    except OSError as error:  # what --print_config prints cannot be written
        print_error(describe(error))
        return 1
    args[args.subcommand].command = write_command(argv)
    kept, resumed = (KEPT, RESUMED) if args.subcommand in ("run", "compare") else ("", "")
    with Stops(kept + resumed) as stops:
        try:
            code = WORDS[args.subcommand](args[args.subcommand])
            return stops.code or code
        except KeyboardInterrupt:
            stops.tell()
            return stops.code or 130
        except Exception as error:
            if stops.code:  # what fails after a signal has failed by it: a terminal is gone, or a process
                stops.tell()
                return stops.code
            if not isinstance(error, OSError):
                raise
            print_error(f"{describe(error)}{kept}")
            return 1
