import io
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ablations.study.checkpoints import epochs_done, find_checkpoint, is_damaged
from ablations.training.checkpoint import SafeCheckpoints, pack_weights
from convnext_path.files import digest

CONTENT = {"state": {"weight": torch.arange(9.0)}, "epoch": 3, "names": ["a"], "nothing": None}


def save(folder: Path, *epochs: int) -> list[Path]:
    for epoch in epochs:
        SafeCheckpoints().save_checkpoint(CONTENT | {"epoch": epoch}, folder / f"{epoch:05d}.ckpt")
    return sorted(folder.iterdir())


def test_round_trip_of_the_last_two(tmp_path: Path) -> None:
    files = save(tmp_path / "new", 1, 2, 3, 10)
    assert [epochs_done(file) for file in files] == [3, 10]
    assert find_checkpoint(tmp_path / "new") == (files[-1], [])
    again = SafeCheckpoints().load_checkpoint(files[-1])
    assert (again["epoch"], again["names"], again["nothing"]) == (10, ["a"], None)
    assert torch.equal(again["state"]["weight"], CONTENT["state"]["weight"])  # type: ignore[index]
    assert find_checkpoint(tmp_path / "none") == (None, [])


@pytest.mark.parametrize("seed", range(30))
def test_damage_is_found_and_the_one_before_is_taken(tmp_path: Path, seed: int) -> None:
    """Emptied, cut short, or one bit flipped anywhere."""
    before, last = save(tmp_path, 1, 2)
    chance, content = random.Random(seed), last.read_bytes()
    place = chance.randrange(len(content))
    flipped = content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]
    last.write_bytes(b"" if seed == 0 else content[:place] if seed % 3 == 0 else flipped)
    assert is_damaged(last)
    assert find_checkpoint(tmp_path) == (before, [last])
    with pytest.raises(ValueError, match="is damaged"):
        SafeCheckpoints().load_checkpoint(last)
    assert save(tmp_path, 2) == [before, last]  # trained again, it is whole again
    assert not is_damaged(last)


class Payload:
    def __init__(self, call: Callable[..., object], *args: object) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.args


@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.parametrize("call", [os.system, os.mkdir, eval, exec, open])
def test_nothing_in_a_checkpoint_is_run(tmp_path: Path, call: Callable[..., object], form: str) -> None:
    trace = tmp_path / "trace"
    text = {os.system: f"touch {trace}", eval: f"open({str(trace)!r}, 'w')", exec: f"open({str(trace)!r}, 'w')"}
    payload = Payload(call, text.get(call, str(trace)), *(["w"] if call is open else []))
    file = tmp_path / "draft"
    if form == "torch":
        torch.save({"state": payload}, file)
    else:
        file.write_bytes(pickle.dumps({"state": payload}, protocol=2))
    file = file.rename(tmp_path / f"00001-{digest(file.read_bytes())}.ckpt")
    assert find_checkpoint(tmp_path) == (file, [])
    with pytest.raises(ValueError, match="holds more than tensors and plain values"):
        SafeCheckpoints().load_checkpoint(file)
    assert not trace.exists()


def test_packed_weights_are_what_torch_loads() -> None:
    net = torch.nn.BatchNorm2d(3)
    loaded = torch.load(io.BytesIO(pack_weights(net)), weights_only=True)
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {
        name: tensor.tolist() for name, tensor in net.state_dict().items()
    }
    assert loaded._metadata == net.state_dict()._metadata  # type: ignore[attr-defined]
