import os
import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import nn

from ablations.study.folder import StudyFolder
from ablations.study.predictions import Answers
from ablations.study.trial import Trial
from ablations.training.checkpoint import pack_weights
from convnext_path import CONVNEXT, RECIPES, SCALES, PathNet
from convnext_path.networks.convert import export_weights
from convnext_path.networks.peer_names import PeerFlags, choose_weights, find_peer
from convnext_path.networks.registry import begin, make_network
from convnext_path.references import find_model

RECIPE = RECIPES["imagenet"]["enhanced"]


def save(net: nn.Module, file: Path) -> str:
    torch.save(net.state_dict(), file)
    return str(file)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        *(("torchvision:shufflenet_v2_x0_5", 64), ("torchvision:vit_b_32", 64), ("torchvision:swin_t", 64)),
        *(("timm:test_convnext", 64), ("timm:test_vit", 64)),
    ],
)
@pytest.mark.parametrize("classes", [7, 9])
def test_a_files_weights_are_taken_all_but_another_classifier(
    name: str, side: int, classes: int, tmp_path: Path
) -> None:
    package, _, model = name.partition(":")
    theirs = timm.create_model(model, num_classes=7) if package == "timm" else None
    theirs = theirs or torchvision.models.get_model(model, num_classes=7)
    scale = find_peer(name)
    flags = choose_weights(scale, save(theirs, tmp_path / "w.pth"))
    net = make_network(flags, scale, RECIPE, classes, image_size=side)
    random = {n: tensor.clone() for n, tensor in net.state_dict().items()}
    begin(net, flags, scale, classes, image_size=side)
    source, kept = theirs.state_dict(), []
    for n, tensor in net.state_dict().items():
        if tensor.shape != source[n].shape and "pos_embed" in n:
            assert not torch.equal(tensor, random[n])  # interpolated
        elif tensor.shape == source[n].shape:
            assert torch.equal(tensor, source[n]), n
        else:
            kept.append(n)
    assert len(kept) == (2 if classes == 9 else 0)


def test_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = find_peer("resnet18")
    net = make_network(PeerFlags(), scale, RECIPE, 3, image_size=64)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    def refuse(message: str, flags: PeerFlags) -> None:
        with pytest.raises(ValueError, match=message):
            begin(net, flags, scale, 3, image_size=64)

    file = tmp_path / "w.pth"
    with pytest.raises(ValueError, match="w.pth cannot be read: No such file"):
        choose_weights(scale, str(file))
    other = choose_weights(scale, save(torchvision.models.resnet34(), file))
    refuse("torchvision:resnet18 cannot begin with .*w.pth: unexpected: layer1.2.bn1.bias, .* and 77 more", other)
    wide = torchvision.models.resnet18()
    wide.layer4[0].conv1 = nn.Conv2d(256, 512, 1, bias=False)
    misshapen = r"w.pth: misshapen: layer4.0.conv1.weight \[512, 256, 1, 1\] for \[512, 256, 3, 3\]$"
    refuse(misshapen, choose_weights(scale, save(wide, file)))
    refuse("w.pth: it has changed since", other)
    torch.save([1], file)
    refuse("w.pth: it contains no weights .tensors by name., ", choose_weights(scale, str(file)))
    file.write_text("text")
    refuse("w.pth: it contains no weights that torch can load", choose_weights(scale, str(file)))

    def unreachable(*args: object, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert choose_weights(scale, None) == PeerFlags("IMAGENET1K_V1")
    refuse("resnet18 cannot begin with IMAGENET1K_V1: .*no network", choose_weights(scale, None))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("package", ["torchvision", "timm"])
@pytest.mark.parametrize("pack", [torch.save, safetensors.torch.save_file])
@pytest.mark.parametrize("names", [("model.", "ema_model."), ("student.backbone.", "teacher.backbone."), ("a.", "b.")])
def test_of_two_sets_the_trained_one_is_begun_with(
    package: str, pack: Callable[..., None], names: tuple[str, str], tmp_path: Path
) -> None:
    scale = find_peer(f"{package}:resnet18")
    net = make_network(PeerFlags(), scale, RECIPE, 3, image_size=64)
    source = {name: tensor.clone() for name, tensor in make_network(PeerFlags(), scale, RECIPE, 3).state_dict().items()}
    sets = [{names[0] + n: w for n, w in source.items()}, {names[1] + n: w + 1 for n, w in source.items()}]
    for first, second in (sets, sets[::-1]):
        pack(first | second, tmp_path / "w")
        flags = choose_weights(scale, str(tmp_path / "w"))
        if names == ("a.", "b."):
            with pytest.raises(ValueError, match="it holds several sets of weights, a, b: save one of them alone$"):
                begin(net, flags, scale, 3, image_size=64)
        else:
            begin(net, flags, scale, 3, image_size=64)
            check_begun(net, source)


#: Tensors as weights do not come, and what is said of them.
ODD: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sparse_coo": torch.Tensor.to_sparse,
    "sparse_csr": torch.Tensor.to_sparse_csr,
    "qint8": lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
    "int8": lambda w: w.to(torch.int8),
    "int64": torch.Tensor.long,
    "bool": lambda w: w > 0,
    "complex64": lambda w: w.to(torch.complex64),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("package", ["torchvision", "timm"])
@pytest.mark.parametrize("kind", ODD)
def test_weights_of_odd_kinds_are_refused(package: str, kind: str, tmp_path: Path) -> None:
    scale = find_peer(f"{package}:resnet18")
    net = make_network(PeerFlags(), scale, RECIPE, 3, image_size=64)
    weights = net.state_dict()
    torch.save(weights | {"fc.weight": ODD[kind](weights["fc.weight"])}, tmp_path / "w")
    with pytest.raises(ValueError, match=f"it holds fc.weight as {kind}: weights are dense tensors of floating-point"):
        begin(net, choose_weights(scale, str(tmp_path / "w")), scale, 3, image_size=64)


def test_a_weights_file_runs_no_code(tmp_path: Path) -> None:
    torch.save({"fc.weight": Trap(tmp_path / "sprung")}, tmp_path / "w.pth")
    scale = find_peer("resnet18")
    flags = choose_weights(scale, str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match="besides weights it contains a posix.mkdir"):
        begin(make_network(flags, scale, RECIPE), flags, scale)
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "densenet121", "vit_b_32"])
def test_published_weights_are_fetched_and_begun_with(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By torchvision's own way to fetch them, in the form that its older files have."""
    published = torchvision.models.get_model(name).state_dict()
    old = age(published)
    for module in ("_api", "densenet"):
        monkeypatch.setattr(f"torchvision.models.{module}.load_state_dict_from_url", lambda *a, **o: old, raising=False)
    rung = find_model(name, pretrained=True)
    assert (rung.name, rung.recipe) == (f"{name}/IMAGENET1K_V1", "finetune")
    net = make_network(rung.flags, rung.scale, RECIPE, 3, image_size=64)
    begin(net, rung.flags, rung.scale, 3, image_size=64)
    check_begun(net, published)


def age(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As files from before 2022 have it."""
    old = type(weights)()
    old._metadata = getattr(weights, "_metadata", {})  # type: ignore[attr-defined]
    for name, tensor in weights.items():
        name = re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name)
        name = name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2")
        if not name.endswith("num_batches_tracked"):
            old[name] = tensor
    for content in old._metadata.values():  # type: ignore[attr-defined]
        content["version"] = 1
    return old


def check_begun(net: nn.Module, source: dict[str, torch.Tensor]) -> None:
    """Whether a network has all that fits it."""
    fitting = {n: w for n, w in net.state_dict().items() if w.shape == source[n].shape and "num_batches" not in n}
    assert len(fitting) >= len(source) // 2
    for n, tensor in fitting.items():
        assert torch.equal(tensor, source[n]), n


@pytest.mark.parametrize("name", ["resnet18", "vit_b_32"])
def test_older_files_are_taken(name: str, tmp_path: Path) -> None:
    published = torchvision.models.get_model(name).state_dict()
    torch.save(age(published), tmp_path / "w.pth")
    rung = find_model(name, file=str(tmp_path / "w.pth"))
    net = make_network(rung.flags, rung.scale, RECIPE, 3, image_size=64)
    begin(net, rung.flags, rung.scale, 3, image_size=64)
    check_begun(net, published)


@pytest.mark.parametrize("classes", [1000, 0])  # the latter: without a classifier
def test_timms_published_weights_are_begun_with(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    published = timm.create_model("test_vit", num_classes=classes).state_dict()
    for way in ("load_state_dict_from_hf", "load_state_dict_from_url"):
        monkeypatch.setattr(f"timm.models._builder.{way}", lambda *a, **o: dict(published))
    rung = find_model("timm:test_vit", pretrained=True)
    net = make_network(rung.flags, rung.scale, RECIPE, 3, image_size=160)
    begin(net, rung.flags, rung.scale, 3, image_size=160)
    check_begun(net, published | {n: w for n, w in net.state_dict().items() if n.startswith("head")})


@pytest.mark.parametrize("name", ["torchvision:vit_b_32", "timm:test_vit", "torchvision:mnasnet0_5"])
def test_what_was_trained_here_can_be_begun_with(name: str, tmp_path: Path, trial: Trial) -> None:
    scale, study = find_peer(name), StudyFolder(tmp_path)
    net = make_network(PeerFlags(), scale, RECIPE, 5, image_size=64)
    study.keep(trial, pack_weights(net), Answers("d", "w", ("a",), (0,), (0,), (1.0,)))
    (file,) = study.weights.iterdir()
    flags = choose_weights(scale, str(file))
    again = make_network(flags, scale, RECIPE, 5, image_size=64)
    begin(again, flags, scale, 5, image_size=64)
    check_begun(again, net.state_dict())


def test_timms_refuse_another_networks_file(tmp_path: Path) -> None:
    scale = find_peer("timm:test_vit")
    file = save(timm.create_model("test_convnext"), tmp_path / "w.pth")
    net = make_network(PeerFlags(), scale, RECIPE, 5, image_size=64)
    with pytest.raises(ValueError, match="timm:test_vit cannot begin with .*w.pth: missing: "):
        begin(net, choose_weights(scale, file), scale, 5, image_size=64)


def release_convnext(name: str) -> str:
    """A name of timm's as in the ConvNeXt authors' code."""
    name = re.sub(r"^stem\.", "downsample_layers.0.", name)
    name = re.sub(r"^stages\.(\d)\.downsample", r"downsample_layers.\1", name)
    name = re.sub(r"^stages\.(\d)\.blocks", r"stages.\1", name)
    name = name.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
    name = name.replace("mlp.grn.weight", "grn.gamma").replace("mlp.grn.bias", "grn.beta")
    return name.replace("head.norm", "norm").replace("head.fc", "head")


def release_swin(name: str) -> str:
    """A name of timm's as in Microsoft's code, which merges patches at the end of a stage."""
    name = re.sub(r"^layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", name)
    return name.replace("head.fc", "head")


def keep_name(name: str) -> str:
    return name


#: Networks as their authors released them: a file's names, and shapes of what files alone hold.
RELEASED: dict[str, tuple[Callable[[str], str], dict[str, tuple[int, ...]]]] = {
    "test_convnext": (release_convnext, {}),
    "convnextv2_atto": (release_convnext, {}),
    "swin_tiny_patch4_window7_224": (
        release_swin,
        {"layers.0.blocks.0.attn.relative_position_index": (49, 49), "layers.0.blocks.1.attn_mask": (64, 49, 49)},
    ),
    "swinv2_tiny_window8_256": (
        release_swin,
        {"layers.0.blocks.0.attn.relative_coords_table": (1, 15, 15, 2), "layers.0.blocks.1.attn_mask": (64, 64, 64)},
    ),
    "test_vit": (keep_name, {}),
    "resnet18": (keep_name, {}),
}


@pytest.mark.parametrize("name", RELEASED)
@torch.no_grad()
def test_what_authors_released_is_converted_by_timm(name: str, tmp_path: Path) -> None:
    translate, extras = RELEASED[name]
    theirs = timm.create_model(name, num_classes=12).eval()
    for tensor in theirs.parameters():
        tensor.uniform_(-0.1, 0.1)
    released = {translate(n): w[None, None, None] if "grn" in n else w for n, w in theirs.state_dict().items()}
    released |= {n: torch.zeros(shape) for n, shape in extras.items()}
    torch.save({"model": released, "args": Namespace(lr=0.1), "epoch": 300}, tmp_path / "w.pth")
    rung, side = find_model(f"timm:{name}", file=str(tmp_path / "w.pth")), theirs.default_cfg["input_size"][-1]
    images = torch.randn(1, 3, side, side)
    for classes in (12, 5):
        net = make_network(rung.flags, rung.scale, RECIPE, classes, image_size=side).eval()
        begin(net, rung.flags, rung.scale, classes, image_size=side)
        check_begun(net, theirs.state_dict())
        assert torch.equal(net(images), theirs(images)) == (classes == 12)


@torch.no_grad()
def test_the_authors_convnext_gives_our_logits_in_timm(tmp_path: Path) -> None:
    ours = PathNet(CONVNEXT, SCALES["T"], layer_scale=1.0).eval()
    torch.save({"model": export_weights(ours, "released")}, tmp_path / "w.pth")
    rung = find_model("timm:convnext_tiny", file=str(tmp_path / "w.pth"))
    net = make_network(rung.flags, rung.scale, RECIPE, 1000, image_size=64).eval()
    begin(net, rung.flags, rung.scale, 1000, image_size=64)
    images = torch.randn(2, 3, 64, 64)
    assert torch.allclose(net(images), ours(images), atol=1e-4)


def wrap_ema(state: dict[str, torch.Tensor]) -> object:
    return {"model_ema": {"n_averaged": torch.tensor(3), **{f"module.{n}": w for n, w in state.items()}}, "epoch": 1}


def wrap_lightning(state: dict[str, torch.Tensor]) -> object:
    named = {f"net.{n}": w for n, w in state.items()} | {"criterion.weight": torch.ones(12)}
    return {"state_dict": named, "hyper_parameters": {"lr": 0.1}, "callbacks": {}, "pytorch-lightning_version": "2.6"}


#: Whoever trained the network.
TRAINED: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "DataParallel": lambda state: {"state_dict": {f"module.{n}": w for n, w in state.items()}, "best_acc1": 75.0},
    "compiled": lambda state: {f"_orig_mod.module.{n}": w for n, w in state.items()},
    "torchvision's averages": wrap_ema,
    "timm": lambda state: {"arch": "x", "args": Namespace(lr=0.1), "state_dict": state, "state_dict_ema": state},
    "Lightning": wrap_lightning,
    "half": lambda state: {n: w.half() if w.is_floating_point() else w for n, w in state.items()},
    "no counters": lambda state: {n: w for n, w in state.items() if "num_batches" not in n},
}


@pytest.mark.parametrize("by", TRAINED)
@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:test_resnet", "torchvision:mnasnet0_5"])
def test_whoever_trained_weights_they_are_begun_with(name: str, by: str, tmp_path: Path) -> None:
    package, _, model = name.partition(":")
    make = timm.create_model if package == "timm" else torchvision.models.get_model
    source = {
        n: w.half().float() if w.is_floating_point() else w for n, w in make(model, num_classes=12).state_dict().items()
    }
    torch.save(TRAINED[by](source), tmp_path / "w.pth")
    rung = find_model(name, file=str(tmp_path / "w.pth"))
    for classes in (12, 5):
        net = make_network(rung.flags, rung.scale, RECIPE, classes, image_size=64)
        begin(net, rung.flags, rung.scale, classes, image_size=64)
        check_begun(net, source)


def test_safetensors_and_files_without_a_classifier_are_taken(tmp_path: Path) -> None:
    for name in ("torchvision:resnet18", "timm:test_resnet", "torchvision:mnasnet0_5"):
        scale = find_peer(name)
        source = make_network(PeerFlags(), scale, RECIPE, 12, image_size=64).state_dict()
        bare = {n: w for n, w in source.items() if not n.startswith(("fc.", "head.", "classifier."))}
        safetensors.torch.save_file(bare, tmp_path / "w.safetensors")
        net = make_network(PeerFlags(), scale, RECIPE, 12, image_size=64)
        before = {n: w.clone() for n, w in net.state_dict().items()}
        begin(net, choose_weights(scale, str(tmp_path / "w.safetensors")), scale, 12, image_size=64)
        check_begun(net, {n: bare.get(n, before[n]) for n in before})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.mkdir, "w.pth cannot be read: it is a folder"),
        (os.mkfifo, "w.pth cannot be read: it is a pipe"),
        (lambda file: file.symlink_to("/dev/zero"), "cannot be read: it is a device"),
        (lambda file: file.symlink_to("nothing"), "nothing cannot be read: No such file"),
        (lambda file: file.symlink_to(file), "w.pth cannot be read: "),
        (lambda file: None, "w.pth cannot be read: No such file"),
    ],
)
def test_what_is_no_file_is_refused(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    make(tmp_path / "w.pth")
    with pytest.raises(ValueError, match=message):
        find_model("resnet18", file=str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match="cannot be read"):
        find_model("resnet18", file="~nobody-of-this-name/w.pth")
