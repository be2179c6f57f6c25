"""python -m ablations WORD: plan, train and look after studies, draw and report them, count costs, measure speed."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C amid the imports ends without a traceback

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from ablations.study.locks import DRIVER, describe_driver, is_held
from ablations.study.places import find_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0; 1 a trial failed; 2 bad input; 130 Ctrl-C; 143 SIGTERM."""
    argv = sys.argv[1:] if argv is None else argv
    take_any_text()
    os.environ["MPLBACKEND"] = "agg"  # what is drawn goes to files; a backend that is not there would end it
    if not is_somewhere():
        print("error: the current folder was removed; change to another", file=sys.stderr)
        return 2
    if holder := find_holder(argv):
        print(f"error: {holder}", file=sys.stderr)
        return 2
    from ablations.cli.commands import main

    return main(argv)


def is_somewhere() -> bool:
    """Whether there is a current folder; libraries end the process where there is none."""
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def take_any_text() -> None:
    """Print what the terminal's encoding lacks, and names of files that are no text, as numbers."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def find_holder(argv: Sequence[str]) -> str:
    """Who trains the study that a second driver would; asked before imports that take seconds."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--study")
    for name in ("--join", "--dry-run"):
        parser.add_argument(name, action="store_true")
    try:
        args, _ = parser.parse_known_args(argv)
    except argparse.ArgumentError:
        return ""  # there is more to say of it
    team = "TORCHELASTIC_RUN_ID" in os.environ or os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"  # it meets first
    trains = argv[0] in ("run", "compare") if argv else False
    if not (trains and args.study) or args.join or args.dry_run or team:
        return ""
    try:
        study = find_folder(args.study, "--study")
        return describe_driver(study) if is_held(study / DRIVER) else ""
    except (OSError, ValueError):
        return ""  # likewise


if __name__ == "__main__":
    sys.exit(main())
