"""Every design of a network and every size, as frozen values: what trials, ladders and checkpoints hold of one."""

from collections.abc import Mapping
from typing import Any

from convnext_path.frozen import find_kind
from convnext_path.networks.flags import Flags, Scale
from convnext_path.networks.peer_names import PeerFlags, PeerScale
from convnext_path.networks.transformer_flags import SwinFlags, SwinScale, ViTFlags, ViTScale

Design = Flags | SwinFlags | ViTFlags | PeerFlags
Size = Scale | SwinScale | ViTScale | PeerScale


def restore_design(value: Design | Mapping[str, Any]) -> Design:
    """Flags, or those that a mapping of their fields stands for."""
    design: Design = find_kind(Design, value).from_dict(value) if isinstance(value, Mapping) else value
    return design


def restore_size(value: Size | Mapping[str, Any]) -> Size:
    """A scale, or the one that a mapping of its fields stands for."""
    size: Size = find_kind(Size, value).from_dict(value) if isinstance(value, Mapping) else value
    return size
