from matplotlib import colors

from ablations.chart import BAR, ROAD


def test_colours_differ_in_grey() -> None:
    def grey(colour: str) -> float:
        red, green, blue = colors.to_rgb(colour)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    assert abs(grey(BAR) - grey(ROAD)) > 0.05
    assert 1 - grey(BAR) > 0.4
