"""What a trial's network costs; nothing is loaded that opens images until some are to be opened."""

from ablations.study.trial import Plan, Trial
from convnext_path import Cost
from convnext_path.counting import count_network
from convnext_path.networks.peer_names import PeerFlags


def trial_cost(trial: Trial) -> Cost:
    """The costs of a trial's network for one of its images."""
    from convnext_path.data.datasets import open_data

    splits = open_data(trial.data)
    return network_cost(trial, splits.num_classes, splits.in_channels, splits.image_size)


def network_cost(trial: Trial, num_classes: int, in_channels: int, image_size: int) -> Cost:
    """The same for images that need not be there."""
    return count_network(trial.flags, trial.scale, trial.recipe, num_classes, in_channels, image_size)


def check_peers(plan: Plan, num_classes: int, in_channels: int, image_size: int) -> None:
    """Make other packages' networks once: they alone know which images and classes suit them."""
    for trial in plan.trials()[: len(plan.rungs)]:
        if isinstance(trial.flags, PeerFlags):
            try:
                network_cost(trial, num_classes, in_channels, image_size)
            except Exception as error:  # noqa: BLE001 - of as many kinds as there are networks
                told = " ".join(str(error).split())
                raise ValueError(f"{trial.rung} cannot take images of {image_size} px: {told[:300]}") from None
