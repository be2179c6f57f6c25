import os
import re
from pathlib import Path
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from torch import nn

from ablations.study.folder import StudyFolder
from ablations.study.predictions import Answers
from ablations.study.trial import Trial
from ablations.training.checkpoint import pack_weights
from convnext_path import RECIPES
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
    refuse(
        r"w.pth: misshapen: layer4.0.conv1.weight \[256, 512, 1, 1\] for \[256, 256, 3, 3\]$",
        choose_weights(scale, save(wide, file)),
    )
    refuse("w.pth: it has changed since", other)
    torch.save([1], file)
    refuse("w.pth: it holds no weights: no tensors", choose_weights(scale, str(file)))
    file.write_text("text")
    refuse("w.pth: it holds no weights that torch can load", choose_weights(scale, str(file)))

    def unreachable(*args: object, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert choose_weights(scale, None) == PeerFlags("IMAGENET1K_V1")
    refuse("resnet18 cannot begin with IMAGENET1K_V1: .*no network", choose_weights(scale, None))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_weights_file_runs_no_code(tmp_path: Path) -> None:
    torch.save({"fc.weight": Trap(tmp_path / "sprung")}, tmp_path / "w.pth")
    scale = find_peer("resnet18")
    flags = choose_weights(scale, str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match="it holds a posix.mkdir beside the weights"):
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
