import pytest

from convnext_path.networks.transformer_flags import SwinFlags, SwinScale, ViTScale


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"width": 20, "heads": (3, 6, 12, 24)}, "20 channels cannot be shared by 3 heads"),
        ({"depths": (1, 0, 1, 1)}, "depths must be at least 1"),
        ({"window": 0}, "window must be at least 1"),
    ],
)
def test_scales_that_are_none(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SwinScale(**bad)
    with pytest.raises(ValueError, match=r"width must be a multiple of 4 and of heads \(5\), got 96"):
        ViTScale(heads=5, width=96)


def test_flags_that_are_none() -> None:
    with pytest.raises(ValueError, match="position must be one of 'none', 'absolute', 'relative', 'both'"):
        SwinFlags(position="relativ")  # type: ignore[arg-type]
