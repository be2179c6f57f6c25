from hypothesis import given
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter
from matplotlib import colors

from ablations.report.style import BAR, ROAD, SIZE, Chart, find_offsets


def test_colours_differ_in_grey() -> None:
    def grey(colour: str) -> float:
        red, green, blue = colors.to_rgb(colour)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    assert abs(grey(BAR) - grey(ROAD)) > 0.05
    assert 1 - grey(BAR) > 0.4


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=6))
def test_numbered_points_move_only_where_they_would_cover_another(places: list[tuple[int, int]]) -> None:
    before = [complex(*place) for place in places]
    offsets = find_offsets(before)
    after = [place + complex(*offset) for place, offset in zip(before, offsets, strict=True)]
    assert offsets[0] == (0, 0)
    for i, (place, offset) in enumerate(zip(before, offsets, strict=True)):
        assert all(abs(after[i] - other) > SIZE for other in after[:i])
        assert (offset == (0, 0)) == all(abs(place - other) > SIZE for other in after[:i])


def test_a_notebook_shows_a_chart() -> None:
    data, _ = DisplayFormatter().format(Chart(figsize=(2, 1)))
    assert data["image/png"].startswith(b"\x89PNG")
