import pytest
import torch

from ablations.bench import networks
from ablations.bench.steps import InferenceStep, TrainingStep
from convnext_path import LADDERS, PathNet


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_step_is_its_phases_and_learns(precision: networks.Precision) -> None:
    torch.manual_seed(0)
    rung = LADDERS["tiny"][0]
    step = TrainingStep(PathNet(rung.flags, rung.scale), torch.randn(8, 3, 32, 32), precision)
    step()
    first = step.loss.item()
    for _ in range(5):
        step.forward()
        step.backward()
        assert all(p.grad is not None for p in step.net.parameters())
        step.optimize()
    assert step.loss.item() < first
    assert all(p.grad is None and p.dtype == torch.float32 for p in step.net.parameters())
    parameters = sum(p.numel() for p in step.net.parameters())
    others = sum(b.numel() * b.element_size() for b in step.net.buffers()) + step.images.numel() * 4
    assert step.held_bytes() == 3 * 4 * parameters + others + 4 * len([*step.net.parameters()])  # a counter each


def test_inference_leaves_the_network_as_it_is() -> None:
    rung = LADDERS["tiny"][0]
    net = PathNet(rung.flags, rung.scale)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    InferenceStep(net, torch.randn(4, 3, 32, 32), "fp32")()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
