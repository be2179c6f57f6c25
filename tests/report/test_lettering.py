import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import font_manager

from ablations.report import lettering
from ablations.report.lettering import LONGEST, describe_undrawn, find_letters, fit, measure, measure_height
from tests.report.conftest import HARD, NAMES

UNKNOWN = "\U0001f6d5"  # a Hindu temple: in no font that is common


@settings(max_examples=60, deadline=None)
@given(NAMES, st.sampled_from([60.0, 200.0]))
def test_a_name_is_whole_in_lines_that_fit(name: str, room: float) -> None:
    lines = fit(name, room).split("\n")
    shown = "".join(lettering.show_name(name).split())
    assert "".join("".join(lines).split()) == shown
    for line in lines:
        assert measure(line, 10, "normal") <= room or len([*find_letters(line)]) == 1


@pytest.mark.parametrize("name", HARD, ids=range(len(HARD)))
def test_what_is_drawn_is_text(name: str) -> None:
    lines = fit(name, 200).split("\n")
    kinds = {unicodedata.category(character) for line in lines for character in line}
    assert not kinds & {"Cc", "Cs", "Cf", "Cn", "Zl", "Zp"}
    assert sum(map(len, lines)) <= 11 * LONGEST


def test_a_name_is_shortened_in_its_middle_only_where_it_is_very_long() -> None:
    assert "".join(fit("x" * 10_000, 300).split()) == f"{'x' * 300}…{'x' * 300}"
    assert "…" not in fit("x" * LONGEST, 300)


def test_marks_stay_with_their_letters() -> None:
    assert [*find_letters("e\u0301a")] == ["e\u0301", "a"]
    assert [*find_letters("👩\u200d🔬x")] == ["👩\u200d🔬", "x"]
    assert all(not unicodedata.combining(line[0]) for line in fit("e\u0301" * 50, 60).split("\n"))


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that has none but Matplotlib's own."""
    own = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in str(entry.fname)]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(lettering, "findSystemFonts", list)
    monkeypatch.setattr(lettering, "FOUND", {})
    lettering.measure_character.cache_clear()
    yield
    lettering.measure_character.cache_clear()


@pytest.mark.usefixtures("no_fonts")
def test_characters_without_a_font_are_named_in_a_line() -> None:
    assert describe_undrawn(["ResNet-50 é", "עברית", "x → y"]) == ""
    line = describe_undrawn(["中文", "हिन्दी", "ไทย", "中\udce9\n"])
    assert line.startswith("no installed font has U+0926, U+0928, U+0939 and ")
    assert "(CJK, DEVANAGARI, THAI)" in line
    assert "\n" not in line
    assert "(symbols)" in describe_undrawn([UNKNOWN])
    assert measure_height("中\nb") > measure_height("a\nb") == 2


@pytest.mark.usefixtures("no_fonts")
def test_a_font_that_has_them_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that was installed since Matplotlib last looked; those that cannot be read do no harm."""
    file = font_manager.findfont("STIXGeneral")
    more = map(chr, set(font_manager.get_font(file).get_charmap()) - lettering.read_plain())
    extra = min(character for character in more if unicodedata.category(character) == "Lo")
    monkeypatch.setattr(lettering, "findSystemFonts", lambda: ["/nowhere/missing.ttf", __file__])
    assert lettering.find_families(f"a{extra}") == ["STIXGeneral"]
    assert describe_undrawn([extra]) == ""
    assert 0 < lettering.measure_character(extra, "bold") < 3
