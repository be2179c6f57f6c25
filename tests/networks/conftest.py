"""What tests of several networks do."""

import torch


def randomize(layer: torch.nn.Module) -> None:
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
