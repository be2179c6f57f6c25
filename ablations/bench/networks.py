"""How fast the networks of a ladder train and infer, beside the same networks of other packages.

A training step is forward pass, cross entropy, backward pass and AdamW, under autocast for bf16, as a trial has it.
Contestants take turns, a block of steps each, so that what else the machine does falls on all of them alike.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import cast

import torch
from torch import nn

from ablations.analysis.tables import count_costs
from ablations.bench.peers import check_peer, find_twin, make_peer
from ablations.bench.request import BenchRequest
from ablations.bench.steps import CLASSES, DTYPES, OURS, STEPS, Precision, Step, TrainingStep
from ablations.study.request import MAX_IMAGE_SIZE
from ablations.training.timing import (
    find_quartiles,
    interleave,
    make_block,
    measure_matrix_rate,
    measure_memory,
    time_steps,
)
from convnext_path import LADDERS, RECIPES, Rung
from convnext_path.data.datasets import IMAGENET_STATISTICS, MemoryImages, Splits
from convnext_path.data.module import View
from convnext_path.frozen import Frozen, choose, within
from convnext_path.kernels.build import Choice, chosen, is_ready, use_kernels
from convnext_path.ladder import select_rungs
from convnext_path.networks.peer_names import Package
from convnext_path.networks.registry import make_network

WAYS = ("eager", "channels_last", "compiled")  # compiled: in channels-last too
PHASES = ("data", "forward", "backward", "optimizer")


class DoesNotFitError(Exception):
    """There is not memory enough."""


@dataclass(frozen=True)
class Setting(Frozen):
    """What is measured. Raises a ValueError for a number out of range."""

    ladder: str
    rungs: tuple[Rung, ...]
    against: tuple[Package, ...]
    device: str
    precisions: tuple[Precision, ...]
    image_size: int  # pixels a side
    batch_size: int
    repeats: int  # blocks of steps
    seconds: float  # that a block takes at least
    compiled: bool  # ours too; peers always are

    def __post_init__(self) -> None:
        super().__post_init__()
        for rung in self.rungs:
            within(f"--image-size for {rung.name}", self.image_size, rung.flags.min_image_size, MAX_IMAGE_SIZE)
        within("--batch-size", self.batch_size, 2, 65536)  # BatchNorm needs company
        within("--repeats", self.repeats, 1, 1000)
        within("--seconds", self.seconds, 0, 600)


@dataclass(frozen=True)
class Row(Frozen):
    """One network, measured in one way. ``shares`` of a training step's time go with :data:`PHASES`."""

    rung: str
    precision: Precision
    task: str  # a key of STEPS
    source: str  # "ours", "stock" (ours by torch's own operations alone), or a peer
    way: str  # one of WAYS
    macs: int  # of an image, forward
    images_per_second: float  # median over blocks
    low: float  # its quartiles
    high: float
    peak_memory: int  # bytes: network, optimizer and batch, and the most that a step adds to them
    matrix_rate: float  # FLOP/s of a large matrix product
    shares: tuple[float, ...] | None = None

    @property
    def milliseconds(self) -> float:
        """Of an image."""
        return 1000 / self.images_per_second

    @property
    def fraction(self) -> float:
        """The share of the matrix product's rate that is reached: 2 FLOP a MAC; training has two gradients more."""
        passes = 3 if self.task == "training" else 1
        return 2 * passes * self.macs * self.images_per_second / self.matrix_rate


def make_setting(request: BenchRequest) -> Setting:
    """What a request comes to on this machine. Raises a ValueError for whatever is wrong with it."""
    chosen()
    ladder, devices = LADDERS[request.ladder], list_devices()
    precisions = tuple(choose("precision", name, DTYPES) for name in dict.fromkeys(request.precision))
    device = devices[-1] if request.device is None else choose("device of this machine", request.device, devices)
    return Setting(
        ladder=request.ladder,
        rungs=ladder if request.rungs is None else select_rungs(ladder, request.rungs),
        against=tuple(map(check_peer, dict.fromkeys(request.against))),
        device=device,
        precisions=cast(tuple[Precision, ...], precisions),
        image_size=request.image_size,
        batch_size=request.batch_size,
        repeats=request.repeats,
        seconds=request.seconds,
        compiled=request.compile,
    )


def list_devices() -> list[str]:
    """Names of what there is to compute on, as torch takes them; last the one to use unless told otherwise."""
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu", *gpus, "cuda"] if gpus else ["cpu"]


@dataclass(frozen=True)
class Case:
    """Contestants that are compared: one network, one precision, one task."""

    setting: Setting
    rung: Rung
    precision: Precision
    task: str

    @property
    def title(self) -> str:
        return f"{self.rung.name}, {self.precision}, {self.task}"

    @property
    def device(self) -> torch.device:
        return torch.device(self.setting.device)


@dataclass(frozen=True)
class Contestant:
    """A network, who made it, and the way it runs."""

    source: str
    way: str
    make_net: Callable[[], nn.Module]

    def make_step(self, case: Case) -> Step:
        layout = torch.contiguous_format if self.way == "eager" else torch.channels_last
        net = self.make_net().to(case.device, memory_format=layout)  # type: ignore[call-overload]
        if self.way == "compiled":
            net.compile()
        side = case.setting.image_size
        images = torch.randn(case.setting.batch_size, 3, side, side, device=case.device)
        images = images.contiguous(memory_format=layout)
        kernels: Choice = "stock" if self.source == "stock" else OURS
        return STEPS[case.task](net, images, case.precision, kernels)


def list_contestants(case: Case) -> list[Contestant]:
    """Our network in the layout that it is trained in, with and without our kernels, and each peer's in each way."""
    rung, setting = case.rung, case.setting
    recipe = replace(RECIPES["imagenet"][rung.recipe], drop_path=0.0)
    ours = partial(make_network, rung.flags, rung.scale, recipe, CLASSES, image_size=setting.image_size)
    contestants = [Contestant("ours", way, ours) for way in WAYS[1 : 3 if setting.compiled else 2]]
    with use_kernels(OURS):
        kernels = is_ready(case.device)
    if kernels:
        contestants.append(Contestant("stock", "channels_last", ours))
    if twin := find_twin(rung):
        for peer in setting.against:
            contestants += [Contestant(peer, way, partial(make_peer, peer, twin)) for way in WAYS]
    return contestants


def measure(setting: Setting, say: Callable[[str], None]) -> Iterator[list[Row]]:
    """Rows of one case after the other; ``say`` hears of what had to be left out.

    Raises:
        DoesNotFitError: a step does not fit into memory.
    """
    device = torch.device(setting.device)
    rates = {precision: measure_matrix_rate(device, DTYPES[precision]) for precision in setting.precisions}
    for rung, precision, task in product(setting.rungs, setting.precisions, STEPS):
        case = Case(setting, rung, precision, task)
        try:
            rows = measure_case(case, rates[precision], say)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            batch = f"a batch of {setting.batch_size} at {setting.image_size} px"
            raise DoesNotFitError(f"{case.title}: {batch} does not fit into memory; lower --batch-size") from None
        yield rows


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def measure_case(case: Case, matrix_rate: float, say: Callable[[str], None]) -> list[Row]:
    """A row for each contestant that can run."""
    torch.compiler.reset()  # networks compiled before count against its limit
    setting, device, entrants = case.setting, case.device, admit(case, say)
    memory = [step.held_bytes() + measure_memory(step, device) for _, step in entrants]
    blocks = [make_block(step, setting.seconds, device) for _, step in entrants]
    macs = count_costs([case.rung], setting.image_size)[0].paper_macs
    rows = []
    for (who, step), peak, times in zip(entrants, memory, interleave(blocks, setting.repeats), strict=True):
        low, median, high = find_quartiles([setting.batch_size / seconds for seconds in times])
        shares = measure_shares(case, step) if who.source == "ours" and isinstance(step, TrainingStep) else None
        names = (case.rung.name, case.precision, case.task, who.source, who.way)
        rows.append(Row(*names, macs, median, low, high, peak, matrix_rate, shares))
    return rows


def admit(case: Case, say: Callable[[str], None]) -> list[tuple[Contestant, Step]]:
    """Contestants that took a first step, which compiles; ``say`` hears of those that cannot be compiled."""
    entrants = []
    for contestant in list_contestants(case):
        step = contestant.make_step(case)
        try:
            step()
            entrants.append((contestant, step))
        except RuntimeError as error:
            if contestant.way != "compiled" or is_out_of_memory(error):
                raise
            say(f"{case.title}: {contestant.source} compiled is left out: {str(error).strip().splitlines()[0]}")
    return entrants


def measure_shares(case: Case, step: TrainingStep) -> tuple[float, ...]:
    """Shares of :data:`PHASES` in a step that loads its batch first and overlaps nothing; their sum is 1."""
    phases = (make_loader(case), step.forward, step.backward, step.optimize)
    blocks = [partial(time_steps, phase, 1, case.device) for phase in phases]
    medians = [find_quartiles(times)[1] for times in interleave(blocks, case.setting.repeats)]
    return tuple(median / sum(medians) for median in medians)


def make_loader(case: Case) -> Callable[[], object]:
    """A function that augments a batch of noise by the rung's ImageNet recipe, in this process; decoding is no part."""
    size, recipe = case.setting.image_size, RECIPES["imagenet"][case.rung.recipe]
    places = range(case.setting.batch_size)
    images = MemoryImages(torch.randint(256, (len(places), 3, size, size), dtype=torch.uint8), places)
    splits = Splits(images, images, places, places, (), size, *IMAGENET_STATISTICS, digest="")
    view = View(splits, recipe, seed=0, train=True)
    return lambda: view[[(0, place) for place in places]]
