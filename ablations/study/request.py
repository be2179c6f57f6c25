"""What is asked for, in plain values, and the plan that it comes to: everything wrong with it is found here."""

import math
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, replace
from functools import partial
from typing import Any

from ablations.fields import Options, option
from ablations.study.places import make_absolute
from ablations.study.trainer import TrainerOptions
from ablations.study.trial import Plan
from convnext_path import LADDERS, RECIPES, Recipe, Rung
from convnext_path.data.selection import CHECKS, Data
from convnext_path.frozen import above, choose, within
from convnext_path.ladder import FAMILIES, choose_ladder, flip, select_rungs
from convnext_path.networks.peer_names import PACKAGES
from convnext_path.references import REFERENCES, find_model, find_reference
from convnext_path.words import join

#: Data sets, and the recipes that suit them unless another is asked for.
DATA = {"digits": "digits", "cifar10": "cifar", "cifar100": "cifar", "imagefolder": "cifar", "imagenet": "imagenet"}

MOST_IMAGES = 10**9

MAX_IMAGE_SIZE = 4096  # pixels a side; beyond it, what follows would overflow or never end

#: Bounds of --mean and --std: images are numbers from 0 to 1, and beyond these nothing is left of them in 32 bits.
LEAST_STD, MOST = 1e-3, 1e3

SEEDS = "how many seeds, such as 3 (seeds 0, 1 and 2), or a list of seeds, such as 5,7"

#: The root of images that are counted, and not opened.
NOWHERE = "not opened"


@dataclass(frozen=True, kw_only=True)
class Request(Options):
    """On which images, by which recipe, from which seeds and under which terms to train.

    What to train is for :class:`LadderRequest` and :class:`ModelsRequest` to say.

    Raises:
        ValueError: a value that an option does not take; the message names those that it does.
    """

    data: str = option("digits", f"data set: {join(DATA)}", ("data set", DATA))
    root: str | None = option(
        None, "folder of the images. For cifar10 and cifar100: where downloads are kept (default for these: data)"
    )
    image_size: int | None = option(
        None,
        "height and width of the images in pixels (default: the data set's own)",
        check=partial(within, low=1, high=MAX_IMAGE_SIZE),
    )
    limit_train: int | None = option(
        None,
        "train on only N images, with each class's share (default: all)",
        check=partial(within, low=1, high=MOST_IMAGES),
    )
    holdout: float = option(
        0.0,
        "share of the training images to validate on instead of the test images, 0 to 0.9 (default: 0)",
        check=partial(within, low=0, high=0.9),
    )
    mean: tuple[float, ...] | None = option(
        None, "mean of each channel, for normalization (default: the data set's own)", form="NUMBER,..."
    )
    std: tuple[float, ...] | None = option(
        None, "standard deviation of each channel, for normalization (default: the data set's own)", form="NUMBER,..."
    )
    skip_bad_images: bool = option(False, "leave out image files that cannot be decoded. Otherwise they stop the run")
    check_images: str | None = option(
        None,
        "how to check the files of a folder before training: full decodes every file, headers reads only their "
        "headers, none opens no file (default: full up to 100,000 files and 8 GiB, otherwise headers)",
        ("--check-images", CHECKS),
    )
    recipe: str | None = option(
        None,
        f"family of training recipes: {join(RECIPES)} (default: the one that suits the data set)",
        ("recipe", RECIPES),
    )
    epochs: int | None = option(
        None,
        "passes over the training images. The original recipe (first rung) is scaled in proportion "
        "(default: the recipe's)",
        check=partial(within, low=1, high=1_000_000),
    )
    batch_size: int | None = option(
        None,
        "images per training step. The learning rate is scaled in proportion (default: the recipe's)",
        check=partial(within, low=2, high=MOST_IMAGES),
    )
    lr: float | None = option(
        None,
        "learning rate at the recipe's own batch size. The original recipe (first rung) keeps its own "
        "(default: the recipe's)",
        check=partial(above, limit=0),
    )
    seeds: int | tuple[int, ...] = option(3, SEEDS, form="SEED,...")
    precision: str | None = option(None, "short for --trainer.precision, such as bf16-mixed (default: 32-true)")
    threads: int = option(
        1,
        "CPU threads per trial. Another number changes results slightly, by rounding",
        check=partial(within, low=1, high=1024),
    )
    compile: bool = option(
        False,
        "compile each network with torch.compile. This takes a minute or more, pays off in long trials, and "
        "changes results slightly, by rounding",
    )
    trainer: TrainerOptions = option(TrainerOptions(), "options of Lightning's trainer")
    here: bool = option(
        True, "whether to train on this machine. If not, images are only counted, and not opened", typed=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        list_seeds(self.seeds)
        check_channels("--mean", self.mean, -MOST)
        check_channels("--std", self.std, LEAST_STD)

    def find_rungs(self) -> tuple[str, tuple[Rung, ...]]:
        """What the study is called, and what it trains. Raises a ValueError."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class LadderRequest(Request):
    """Rungs of a ladder, flips of the last of them, networks to compare with."""

    ladder: str = option(
        "convnext-nano",
        f"ladder of networks: {join(LADDERS)}. The name of a family ({join(FAMILIES)}) means its small "
        "(nano) ladder; with --data imagenet, its full-size one",
        ("ladder", ChainMap[str, Any](FAMILIES, LADDERS)),
    )
    rungs: tuple[str, ...] | None = option(None, "train only these rungs (default: all of the ladder)", form="NAME,...")
    flip: tuple[tuple[str, object], ...] = option(
        (),
        "for each FLAG=VALUE, also train the last rung with this flag (switch of the network) changed",
        form="FLAG=VALUE,...",
    )
    references: tuple[str, ...] = option(
        (),
        f"networks to train beside the ladder, for comparison: "
        f"{join([*REFERENCES, *(f'{package}:NAME' for package in PACKAGES)])}",
        form="NAME,...",
    )

    def find_rungs(self) -> tuple[str, tuple[Rung, ...]]:
        title = choose_ladder(self.ladder, small=DATA[self.data] != "imagenet")
        ladder = LADDERS[title]
        rungs = ladder if self.rungs is None else select_rungs(ladder, self.rungs)
        if not rungs:
            raise ValueError("--rungs names no rung")
        rungs += tuple(dict.fromkeys(flip_rung(rungs[-1], flag, value) for flag, value in self.flip))
        return title, rungs + tuple(find_reference(name) for name in dict.fromkeys(self.references))


@dataclass(frozen=True, kw_only=True)
class ModelsRequest(Request):
    """Networks by name, each with the weights that it begins with."""

    models: tuple[str, ...] = option(
        MISSING,
        "names of networks, from torchvision, this project or timm. torchvision:NAME or timm:NAME chooses the package",
        form="NAME,...",
    )
    pretrained: bool = option(False, "start from the published weights of each network, which are downloaded once")
    weights: tuple[tuple[str, str], ...] = option(
        (), "start a network from the weights in a file", form="MODEL=FILE,..."
    )
    seeds: int | tuple[int, ...] = option(1, SEEDS, form="SEED,...")

    def find_rungs(self) -> tuple[str, tuple[Rung, ...]]:
        models, files = dict.fromkeys(self.models), dict[str, str]()
        if not models:
            raise ValueError("--models names no network")
        for model, file in self.weights:
            if choose("model in --weights", model, models) in files:
                raise ValueError(f"--weights has two files for {model}")
            files[model] = file
        return "comparison", tuple(find_model(m, pretrained=self.pretrained, file=files.get(m)) for m in models)


def make_plan(request: Request) -> Plan:
    """The plan that a request comes to.

    Raises:
        ValueError: whatever is wrong with it, and what is allowed.
    """
    title, rungs = request.find_rungs()
    family = RECIPES[DATA[request.data] if request.recipe is None else request.recipe]
    names = sorted({rung.recipe for rung in rungs})
    data = find_data(request, tuned="finetune" in names)
    recipes = tuple((name, adapt_recipe(family, name, request)) for name in names)
    options = tuple(sorted(choose_trainer(request).chosen().items()))
    return Plan(title, rungs, list_seeds(request.seeds), data, recipes, options, request.threads, request.compile)


def choose_trainer(request: Request) -> TrainerOptions:
    """The trainer's options. Raises a ValueError where two of them name different precisions."""
    short, long = request.precision, request.trainer.precision
    if short is None:
        return request.trainer
    if long is not None and str(long) != short:
        raise ValueError(f"--precision {short} is short for --trainer.precision, which is {long}; choose one")
    return replace(request.trainer, precision=short)  # type: ignore[arg-type]  # which refuses what is none


def find_data(request: Request, tuned: bool) -> Data:
    """Its images; where weights are tuned, at 224 px, the side that most published ones have seen."""
    nowhere = request.data == "imagenet" and request.root is None and not request.here
    return Data(
        request.data,  # type: ignore[arg-type]  # one of DATA
        root=NOWHERE if nowhere else place_root(request),
        image_size=224 if tuned and request.image_size is None else request.image_size,
        limit_train=request.limit_train,
        holdout=request.holdout,
        mean=request.mean,
        std=request.std,
        skip_bad_images=request.skip_bad_images,
        check_images=request.check_images,  # type: ignore[arg-type]  # one of CHECKS
    )


def place_root(request: Request) -> str | None:
    """Where its images are, from whatever folder that is asked later; downloads are kept in ``data``, if not said."""
    root = "data" if not request.root and request.data.startswith("cifar") else request.root
    return root and make_absolute(root)


def check_channels(name: str, numbers: tuple[float, ...] | None, least: float) -> None:
    """Raise a ValueError for what are no means or deviations of channels; None is the data set's own."""
    if numbers is None:
        return
    if not numbers:
        raise ValueError(f"{name} takes a number for each channel, got none")
    given = ",".join(f"{n:g}" for n in numbers)
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name} takes finite numbers, got {given!r}")
    if not all(least <= number <= MOST for number in numbers):
        raise ValueError(f"{name} takes numbers from {least:g} to {MOST:g}, got {given!r}")


def list_seeds(seeds: int | tuple[int, ...]) -> tuple[int, ...]:
    """3 is (0, 1, 2); (7, 5) is (5, 7). Raises a ValueError for numbers that are no seeds."""
    numbers = (seeds,) if isinstance(seeds, int) else seeds
    if not numbers:
        raise ValueError("--seeds takes a number of seeds, or a list of seeds, got none")
    for number in (min(numbers), max(numbers)):
        within("each of --seeds", number, 0, 2**32 - 1)
    if isinstance(seeds, int):
        within("--seeds", seeds, 1, 1000)
        return tuple(range(seeds))
    return tuple(sorted(set(seeds)))


def flip_rung(rung: Rung, flag: str, value: object) -> Rung:
    """A rung beside ``rung`` with one flag changed. Raises a ValueError that says which was asked for."""
    try:
        return flip(rung, flag, value)
    except ValueError as error:
        raise ValueError(f"--flip {flag}={str(value).lower()}: {error}") from None


def adapt_recipe(family: Mapping[str, Recipe], name: str, request: Request) -> Recipe:
    """A recipe with the epochs, batch size and learning rate that are asked for."""
    recipe = family[name]
    if request.epochs is not None:
        share = recipe.epochs / family["enhanced"].epochs if name == "original" else 1
        recipe = recipe.with_epochs(max(round(request.epochs * share), 1))
    if request.batch_size is not None:
        recipe = replace(recipe, batch_size=request.batch_size)
    if request.lr is not None and name != "original":
        recipe = replace(recipe, lr=request.lr)
    return recipe


def choose_ladders(name: str | None, image_size: int) -> list[str]:
    """The ladder of a name or a family, for images of a side; without a name the two that are published.

    Raises:
        ValueError: an unknown name, or a side that is too small or too large.
    """
    names = ["convnext-t", "convnext-b"] if name is None else [choose_ladder(name, small=image_size < 128)]
    least = max(rung.flags.min_image_size for name in names for rung in LADDERS[name])
    within("--image-size", image_size, least, MAX_IMAGE_SIZE)
    return names
