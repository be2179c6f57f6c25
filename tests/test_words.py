import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnext_path.words import show_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("caf\udce9", "caf\\xe9"),
        ("\ud800", "\\ud800"),
        ("a\nb\0", "a\\nb\\x00"),
        ("\u202eabc", "\\u202eabc"),
        ("\ufeffx\U0010ffff", "\\ufeffx\\U0010ffff"),
        ("\u2028", "\\u2028"),
        ("ResNet-50 é 中文 हिन्दी 👩\u200d🔬 $x^2$ <b>", "ResNet-50 é 中文 हिन्दी 👩\u200d🔬 $x^2$ <b>"),
    ],
)
def test_what_is_no_text_is_escaped(name: str, shown: str) -> None:
    assert show_name(name) == shown


@given(st.text(st.characters(codec=None)))
def test_names_are_one_line_that_any_file_holds(name: str) -> None:
    shown = show_name(name)
    assert shown.encode().decode() == shown
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Cn", "Co", "Zl", "Zp"}
    assert show_name(shown) == shown
