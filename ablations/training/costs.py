"""What a trial's network costs."""

from ablations.study.trial import Trial
from convnext_path import Cost
from convnext_path.counting import count_network
from convnext_path.data.datasets import open_data


def trial_cost(trial: Trial) -> Cost:
    """The costs of a trial's network for one of its images."""
    splits = open_data(trial.data)
    return network_cost(trial, splits.num_classes, splits.in_channels, splits.image_size)


def network_cost(trial: Trial, num_classes: int, in_channels: int, image_size: int) -> Cost:
    """The same for images that need not be there."""
    return count_network(trial.flags, trial.scale, trial.recipe, num_classes, in_channels, image_size)
