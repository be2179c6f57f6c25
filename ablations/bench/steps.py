"""What is timed: a step of training or of inference, on one random batch that waits on its device."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Precision = Literal["fp32", "bf16"]
CLASSES = 1000

#: What the matrix products of a precision multiply; weights are fp32 in both.
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Step:
    """A network and a batch to put through it again and again."""

    def __init__(self, net: nn.Module, images: Tensor, precision: Precision) -> None:
        self.net, self.images = net, images
        self.autocast = torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16")

    def __call__(self) -> None:
        raise NotImplementedError

    def held_bytes(self) -> int:
        """Memory that stays taken between steps."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.held())

    def held(self) -> Iterator[Tensor]:
        yield from (*self.net.parameters(), *self.net.buffers(), self.images)


class InferenceStep(Step):
    def __init__(self, net: nn.Module, images: Tensor, precision: Precision) -> None:
        super().__init__(net.eval(), images, precision)

    @torch.inference_mode()
    def __call__(self) -> None:
        with self.autocast:
            self.net(self.images)


class TrainingStep(Step):
    """The same optimizer for every rung, so that networks are compared."""

    def __init__(self, net: nn.Module, images: Tensor, precision: Precision) -> None:
        super().__init__(net.train(), images, precision)
        self.labels = torch.arange(len(images), device=images.device) % CLASSES
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
        self.loss = torch.zeros(())

    def __call__(self) -> None:
        self.forward()
        self.backward()
        self.optimize()

    def forward(self) -> None:
        with self.autocast:
            self.loss = F.cross_entropy(self.net(self.images), self.labels)

    def backward(self) -> None:
        torch.autograd.backward(self.loss)

    def optimize(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()

    def held(self) -> Iterator[Tensor]:
        yield from super().held()
        for state in self.optimizer.state.values():
            yield from state.values()


STEPS = {"training": TrainingStep, "inference": InferenceStep}
