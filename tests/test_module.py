import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import nn

from ablations.training.trainer import quiet_lightning
from convnext_path import CONVNEXT, RECIPES, Flags, PathData, PathModule, Recipe
from convnext_path.module import average_floats, weight_decay_groups
from convnext_path.networks.layers import DepthwiseConv2d, LayerScale, PatchConv2d
from tests.conftest import DIGITS, TINY

RECIPE = replace(RECIPES["digits"]["enhanced"].with_epochs(2), batch_size=25)


def train(recipe: Recipe = RECIPE, flags: Flags = CONVNEXT, **options: Any) -> tuple[PathModule, pl.Trainer]:
    with quiet_lightning():
        data = PathData(DIGITS, recipe)
        torch.manual_seed(0)
        module = PathModule(flags, TINY, recipe, 10, 1, seed=0)
        usual: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
        trainer = pl.Trainer(
            max_epochs=recipe.epochs, accelerator="cpu", enable_progress_bar=False, **{**usual, **options}
        )
        trainer.fit(module, data)
    return module, trainer


def test_logs_what_it_says(tmp_path: Path) -> None:
    _, trainer = train(logger=CSVLogger(tmp_path))
    assert set(trainer.callback_metrics) == {"train/loss", "val/loss", "val/top1", "val/top5", "lr"}
    assert trainer.callback_metrics["val/top5"] >= trainer.callback_metrics["val/top1"]


def test_the_learning_rate_follows_the_recipe() -> None:
    rates: list[float] = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    train(callbacks=[Watch()])
    assert rates == pytest.approx([RECIPE.lr_at(step / 4) for step in range(8)])


def test_checkpoints_load_without_trusting_any_class(tmp_path: Path) -> None:
    module, trainer = train()
    file = tmp_path / "some.ckpt"
    trainer.save_checkpoint(file)
    content = torch.load(file, weights_only=True)
    assert content["hyper_parameters"]["flags"] == CONVNEXT.to_dict()
    again = PathModule.load_from_checkpoint(file, weights_only=True)
    assert again.recipe == RECIPE
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))


def test_weight_decay_spares_norms_biases_and_layer_scale() -> None:
    net = PathModule(CONVNEXT, TINY, RECIPE, 10).net
    decayed, spared = (group["params"] for group in weight_decay_groups(net, RECIPE))
    kinds = {id(p): type(m) for m in net.modules() for p in m.parameters(recurse=False)}
    assert {kinds[id(p)] for p in decayed} == {PatchConv2d, DepthwiseConv2d, nn.Linear}
    assert LayerScale in {kinds[id(p)] for p in spared}
    assert all(p.ndim == 1 for p in spared)
    assert len(decayed) + len(spared) == len(list(net.parameters()))
    original = replace(RECIPE, decay_all=True)
    assert [g["weight_decay"] for g in weight_decay_groups(net, original)] == [RECIPE.weight_decay] * 2


def test_original_recipe_uses_sgd() -> None:
    _, trainer = train(replace(RECIPES["digits"]["original"].with_epochs(1), batch_size=25), Flags())
    optimizer = trainer.optimizers[0]
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["momentum"] == 0.9


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, mixup=0.0), replace(RECIPE, mixup=0.0, cutmix=0.0)])
def test_bf16_and_mixes_train(recipe: Recipe) -> None:
    _, trainer = train(recipe, precision="bf16-mixed")
    assert math.isfinite(trainer.callback_metrics["train/loss"])


def test_ema_replaces_the_weights() -> None:
    plain, now, average = (train(replace(RECIPE, ema=ema))[0].net.head.weight for ema in (None, 0.0, 0.9))
    assert torch.equal(plain, now)
    assert not torch.equal(plain, average)


def test_channels_last_unless_told_otherwise() -> None:
    images = torch.randn(2, 3, 40, 40)
    last, first = (PathModule(Flags(), TINY, RECIPE, 10, channels_last=c).eval() for c in (True, False))
    first.load_state_dict(last.state_dict())
    assert last.net.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last(images), first(images), rtol=1e-4, atol=1e-4)


def test_fewer_than_five_classes() -> None:
    module = PathModule(Flags(), TINY, RECIPE, num_classes=2)
    assert module.top5.top_k == 2


def test_the_seed_decides_alone() -> None:
    """Not what the global generator did before: stochastic depth and Mixup follow from (seed, step)."""
    weights = []
    for noise in (1, 2):
        torch.manual_seed(0)
        module = PathModule(CONVNEXT, TINY, replace(RECIPE, drop_path=0.5, mixup=1.0), 10, 1, seed=7)
        torch.manual_seed(noise)
        data = PathData(DIGITS, RECIPE, seed=7)
        with quiet_lightning():
            trainer = pl.Trainer(
                max_epochs=1,
                accelerator="cpu",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(module, data)
        weights.append(module.net.head.weight.detach().clone())
    assert torch.equal(*weights)


def test_accumulated_batches_draw_apart_and_scale_the_rate() -> None:
    seeds, rates = [], []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            seeds.append(torch.initial_seed())
            rates.append(trainer.optimizers[0].defaults["lr"])

    train(RECIPE.with_epochs(1), callbacks=[Watch()], accumulate_grad_batches=2)
    assert len(set(seeds)) == 4
    assert set(rates) == {2 * RECIPE.peak_lr}


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="did you mean kernel_size"):
        PathModule({"kernal_size": 3})
    with pytest.raises(TypeError):
        PathModule(Flags(), learning_rate=3)  # type: ignore[call-arg]


def test_an_average_of_weights_leaves_whole_numbers_alone() -> None:
    """Swin's places in its table: an average of them would be one less, now and then."""
    average = average_floats(0.9)
    index = torch.arange(100)
    assert torch.equal(average(index, index, 1), index)
    assert average(torch.tensor(1.0), torch.tensor(2.0), 1) == pytest.approx(1.1)
