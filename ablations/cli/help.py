"""What ``--help`` shows: words by what they are for, options by what they decide, and what the terms mean."""

import argparse
import shutil
import textwrap
from typing import Any

import jsonargparse

from convnext_path import LADDERS

PROGRAM = "python -m ablations"

#: Each word, by what it is for, and what it does.
WORDS = {
    "Train": {
        "run": "train a ladder over several seeds, and draw its charts and page",
        "compare": "train networks by name on the same images",
        "plan": "say what a run would take: hours, memory, disk, money",
        "prepare": "write a folder of images as a stream, for storage far away",
    },
    "Look": {
        "status": "what of a study is done, and what the next run would train",
        "verify": "check a study's records; train some of it again and compare",
        "cost": "count the costs of each rung of a ladder; trains nothing",
    },
    "Draw and send": {
        "plot": "draw a study's table and charts again from its records",
        "report": "the same, and its page report.html",
        "wandb": "send a study to W&B from its records, or send it again",
    },
    "Measure": {"bench": "measure speed and memory of networks, beside torchvision's and timm's"},
}

GLOSSARY = {
    "ladder": "a list of networks, each with one design step more than the one before: ResNet first, ConvNeXt last",
    "rung": "one network of a ladder, named by the step that it adds",
    "step": "the change from one rung to the next, such as LayerNorm in place of BatchNorm",
    "trial": "one training: a rung, a seed, a recipe and images",
    "study": "a folder with all trials of some rungs and seeds on the same images, and what is drawn from them",
    "seed": "a number that decides initialization, order and augmentation: other seeds show what is chance",
}

EXAMPLES = {
    "run": "run --rungs fewer_norms,layer_norm --seeds 5 --study results/ln",
    "compare": "compare --models resnet18,mobilenet_v2 --epochs 30 --data cifar10",
    "plan": "plan --ladder convnext-t --data imagenet --profile a100",
    "prepare": "prepare --root ~/flowers --out s3://bucket/flowers",
    "status": "status results/ln",
    "verify": "verify results/ln --trial layer_norm:0",
    "cost": "cost --ladder convnext-t",
    "plot": "plot results/ln",
    "report": "report results/ln",
    "wandb": "wandb results/ln --mode offline",
    "bench": "bench --rungs resnet,layer_norm --out results/bench-mine",
}

#: Options by what they decide, in the order of the help; all of Lightning's begin with --trainer.
GROUPS = {
    "What to train": "ladder rungs flip references models pretrained weights",
    "On which images": "data root image_size limit_train holdout mean std skip_bad_images check_images",
    "How to train": "recipe epochs batch_size lr seeds precision compile",
    "Where, and how many at a time": "workers threads loader_workers engine",
    "What is kept": "study wandb keep join strict keep_stale dry_run",
    "For which machine to plan": "bench profile at_once price memory",
    "Lightning's trainer": "trainer",
}

#: What stands above a group that has an option.
NOTES = {
    "rungs": f"Rungs of convnext-nano, in order: {', '.join(rung.name for rung in LADDERS['convnext-nano'])}. "
    f"Those of another ladder: {PROGRAM} cost --ladder NAME"
}


def find_group(parser: Any, dest: str) -> Any:
    """The group of a parser that an option belongs to; made where it is not there, and the parser where it has none."""
    name = dest.partition(".")[0]
    title = next((title for title, names in GROUPS.items() if name in names.split()), None)
    if title is None:
        return parser
    there = next((group for group in parser._action_groups if group.title == title), None)
    group = there or parser.add_argument_group(title)
    group.description = NOTES.get(name, group.description)
    return group


class Help(jsonargparse.DefaultHelpFormatter):
    """An option's meaning, and its default where that is not said; no types of Python."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "max_help_position": 26})  # type: ignore[no-untyped-call]

    def _get_help_string(self, action: argparse.Action) -> str:
        if action.dest == "print_config":
            return "print all options as a file for --config, and stop"
        if action.dest == "help":
            return "show this, and stop"
        text, default = action.help or "", action.default
        is_switch = action.nargs == 0 or not action.option_strings
        if is_switch or default is None or default == argparse.SUPPRESS or "(default" in text:
            return text
        return f"{text} (default: {str(default).lower() if isinstance(default, bool) else default})"


def describe_word(word: str) -> dict[str, str]:
    """What a word's parser is told: what it does, how it is typed, and an example."""
    names = {name: text for words in WORDS.values() for name, text in words.items()}
    studies = ["status", "verify", "plot", "report", "wandb"]
    text = names[word]
    kept = " What a config says of what is kept is taken, and changes nothing."
    return {
        "usage": f"{PROGRAM} {word} {'STUDY ' * (word in studies)}[OPTION ...]",
        "description": f"{text[0].upper()}{text[1:]}.{kept * (word == 'plan')}",
        "epilog": f"Example: {PROGRAM} {EXAMPLES[word]}",
    }


def show_words() -> str:
    """The help of the program: its words, an example, and the terms."""
    parts = [
        f"usage: {PROGRAM} WORD [OPTION ...]",
        "",
        "The road from ResNet to ConvNeXt: train, count and draw it.",
    ]
    for title, words in WORDS.items():
        parts += ["", f"{title}:", *(show_line(word, text) for word, text in words.items())]
    parts += ["", "Terms:", *(show_line(term, text) for term, text in GLOSSARY.items())]
    parts += ["", f"Example: {PROGRAM} {EXAMPLES['run']}", f"Options of a word: {PROGRAM} WORD --help", ""]
    return "\n".join(parts)


def show_line(name: str, text: str) -> str:
    width = max(shutil.get_terminal_size().columns - 2, 40)
    return textwrap.fill(text, width, initial_indent=f"  {name:<10}", subsequent_indent=12 * " ")
