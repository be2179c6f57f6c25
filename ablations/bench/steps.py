"""What is timed: a step of training or of inference, on one random batch that waits on its device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnext_path.kernels.build import Choice, use_kernels

Precision = Literal["fp32", "bf16"]
CLASSES = 1000
OURS: Choice = "triton"  # all of our kernels, on whatever device

#: What the matrix products of a precision multiply; weights are fp32 in both.
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Step:
    """A network and a batch to put through it again and again, by the kernels that are chosen."""

    def __init__(self, net: nn.Module, images: Tensor, precision: Precision, kernels: Choice = "auto") -> None:
        self.net, self.images, self.precision, self.kernels = net, images, precision, kernels

    @contextmanager
    def terms(self) -> Iterator[None]:
        """What the forward pass is under, which decides for the backward pass as well."""
        bf16 = torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with bf16, use_kernels(self.kernels):
            yield

    def __call__(self) -> None:
        raise NotImplementedError

    def held_bytes(self) -> int:
        """Memory that stays taken between steps."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.held())

    def held(self) -> Iterator[Tensor]:
        yield from (*self.net.parameters(), *self.net.buffers(), self.images)


class InferenceStep(Step):
    def __init__(self, net: nn.Module, images: Tensor, precision: Precision, kernels: Choice = "auto") -> None:
        super().__init__(net.eval(), images, precision, kernels)

    @torch.inference_mode()
    def __call__(self) -> None:
        with self.terms():
            self.net(self.images)


class TrainingStep(Step):
    """The same optimizer for every rung, so that networks are compared."""

    def __init__(self, net: nn.Module, images: Tensor, precision: Precision, kernels: Choice = "auto") -> None:
        super().__init__(net.train(), images, precision, kernels)
        self.labels = torch.arange(len(images), device=images.device) % CLASSES
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
        self.loss = torch.zeros(())

    def __call__(self) -> None:
        self.forward()
        self.backward()
        self.optimize()

    def forward(self) -> None:
        with self.terms():
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
