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
        "run": "train a ladder from several seeds, then draw its charts and its page",
        "compare": "train networks that you name, all on the same images",
        "plan": "estimate what a run needs: hours, memory, disk space, money",
        "prepare": "pack a folder of images into large files (a stream) for remote storage",
    },
    "Inspect": {
        "status": "show which trials of a study are done, and what the next run would train",
        "verify": "check a study's files; on request, train some trials again and compare",
        "cost": "count the multiply-accumulates and parameters of each rung; trains nothing",
    },
    "Draw and send": {
        "plot": "draw a study's table and charts again, without training",
        "report": "draw the table, the charts and the page report.html again",
        "wandb": "send a study to Weights & Biases (W&B); sending again replaces it",
    },
    "Measure": {"bench": "measure speed and memory of networks, and compare with torchvision and timm"},
}

GLOSSARY = {
    "ladder": "a list of networks; each adds one design step to an earlier one, such as from ResNet to ConvNeXt",
    "rung": "one network of a ladder, named after the step that it adds",
    "step": "the change from one rung to the next, such as LayerNorm in place of BatchNorm",
    "trial": "one training run: a rung, a seed, a recipe and images",
    "study": "a folder with all trials of some rungs and seeds on the same images, and their table, charts and page",
    "seed": "a number that decides initialization, image order and augmentation. Several seeds show how much is chance",
    "recipe": "how a network is trained: optimizer, learning rate, augmentation, regularization, epochs",
    "record": "the file with the result of one trial",
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
    "Where to train, and how many trials at a time": "workers threads loader_workers engine",
    "What to keep": "study wandb keep join strict keep_stale dry_run",
    "Which machine to plan for": "bench profile at_once price memory",
    "Lightning's trainer": "trainer",
}

#: What stands above a group that has an option.
NOTES = {
    "rungs": f"Rungs of ladder convnext-nano, in order: {', '.join(rung.name for rung in LADDERS['convnext-nano'])}. "
    f"To list the rungs of another ladder: {PROGRAM} cost --ladder NAME"
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
            return "print all options in the format that --config reads, and exit"
        if action.dest == "help":
            return "show this help and exit"
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
    kept = " It accepts the config file of a run; options on what to keep have no effect."
    return {
        "usage": f"{PROGRAM} {word} {'STUDY ' * (word in studies)}[OPTION ...]",
        "description": f"{text[0].upper()}{text[1:]}.{kept * (word == 'plan')}",
        "epilog": f"Example: {PROGRAM} {EXAMPLES[word]}",
    }


def show_words() -> str:
    """The help of the program: its words, an example, and the terms."""
    parts = [
        f"usage: {PROGRAM} COMMAND [OPTION ...]",
        "",
        "Train, count and draw every design step on the road from ResNet to ConvNeXt.",
    ]
    for title, words in WORDS.items():
        parts += ["", f"{title}:", *(show_line(word, text) for word, text in words.items())]
    parts += ["", "Terms:", *(show_line(term, text) for term, text in GLOSSARY.items())]
    parts += ["", f"Example: {PROGRAM} {EXAMPLES['run']}", f"Options of a command: {PROGRAM} COMMAND --help", ""]
    return "\n".join(parts)


def show_line(name: str, text: str) -> str:
    width = max(shutil.get_terminal_size().columns - 2, 40)
    return textwrap.fill(text, width, initial_indent=f"  {name:<10}", subsequent_indent=12 * " ")
