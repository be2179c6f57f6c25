"""Names in charts: in fonts that have their characters, and in as many lines as they need."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import cache

from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager, get_font

from convnext_path.words import show_name

LONGEST = 600  # characters of a name that are drawn
PLAIN = "DejaVu Sans"  # Matplotlib's own
HINTED = 1.06  # times the width that a font states, where letters are set on whole pixels
HIGHER = 1.35  # times as high as the plain font's, about, lines of other scripts are
BOXES = "Last Resort"  # what begins the name of the font with a box for every character
USUAL = (400, "normal", "regular")  # weights
UNREADABLE = (OSError, RuntimeError, NotImplementedError, ValueError)  # fonts of colors, damaged ones

#: The families that have characters which the plain font lacks, or none, as far as they were looked for.
FOUND: dict[str, str | None] = {}


def fit(name: str, room: float, size: float = 10, weight: str = "normal", longest: int = LONGEST) -> str:
    """A name in lines no longer than ``room``, in points: broken between words, and within those that are longer.

    What is longer than ``longest`` characters is shortened in its middle.
    """
    if len(name) > longest:
        name = f"{name[: longest // 2]} … {name[-longest // 2 :]}"
    lines, used = [""], 0.0
    for word in re.findall(r"\s*\S+|\s+$", show_name(name)):
        width = measure(word, size, weight)
        if used and used + width > room:
            lines, used, word = [*lines, ""], 0.0, word.lstrip()
        for letter in find_letters(word):
            width = measure(letter, size, weight)
            if lines[-1] and used + width > room:
                lines, used = [*lines, ""], 0.0
            lines[-1], used = lines[-1] + letter, used + width
    return "\n".join(lines)


def measure_height(text: str) -> float:
    """In lines of the plain font; those of others are higher."""
    return (text.count("\n") + 1) * (1.0 if all(map(is_plain, text)) else HIGHER)


def find_letters(word: str) -> Iterator[str]:
    """Characters with the marks on them, which stand on one line."""
    letter = ""
    for character in word:
        if letter and unicodedata.category(character)[0] != "M" and "\u200d" not in (character, letter[-1]):
            yield letter
            letter = ""
        letter += character
    yield from filter(None, [letter])


def measure(text: str, size: float, weight: str) -> float:
    """About how wide a text is, in points."""
    return HINTED * size * sum(measure_character(character, weight) for character in text)


@cache
def measure_character(character: str, weight: str) -> float:
    """How wide a character is, in parts of the type's size; a square where no font has it."""
    families = [PLAIN] if is_plain(character) else find_families(character)
    weight = weight if is_plain(character) else "normal"  # not every family has a bold font, or all characters in it
    if unicodedata.category(character)[0] == "M" or not families:
        return 0.0 if families else 1.0
    font = get_font(findfont(FontProperties(family=families, weight=weight)))
    font.set_size(100, 72)
    return float(font.load_char(ord(character)).linearHoriAdvance) / 65536 / 100


@cache
def read_plain() -> frozenset[int]:
    """The plain font's characters."""
    return frozenset(get_font(findfont(FontProperties(family=[PLAIN]))).get_charmap())


def is_plain(character: str) -> bool:
    return ord(character) in read_plain() or character.isspace()


def find_families(text: str) -> list[str]:
    """The families of fonts, beside the plain one, that a text takes, as far as there are any."""
    lacking = dict.fromkeys(character for character in text if not is_plain(character))
    if unknown := lacking.keys() - FOUND.keys():
        FOUND.update(dict.fromkeys(unknown) | search_fonts(unknown))
    return list(dict.fromkeys(family for character in lacking if (family := FOUND[character])))


def search_fonts(characters: Iterable[str]) -> dict[str, str]:
    """The first family that has each of some characters."""
    found: dict[str, str] = {}
    left = set(characters)
    for family in list_families():
        if not left:
            break
        there = read_characters(family)
        here = {character for character in left if ord(character) in there}
        found |= dict.fromkeys(here, family)
        left -= here
    return found


def list_families() -> list[str]:
    """Those that have an upright font of the usual weight; first the ones without serifs."""
    known = {str(entry.fname) for entry in fontManager.ttflist}
    for file in set(findSystemFonts()) - known:  # installed since Matplotlib last looked
        with suppress(*UNREADABLE):
            fontManager.addfont(file)
    usual = {font.name for font in fontManager.ttflist if font.style == "normal" and font.weight in USUAL}
    families = [name for name in usual if not name.startswith(BOXES)]
    return sorted(families, key=lambda name: ("Sans" not in name, "Mono" in name, name))


def read_characters(family: str) -> Collection[int]:
    """The characters that a family's font has; none where it cannot be read."""
    with suppress(*UNREADABLE):
        return get_font(findfont(FontProperties(family=[family]), fallback_to_default=False)).get_charmap()
    return ()


def describe_undrawn(texts: Iterable[str]) -> str:
    """Which characters no font here has, in a line; empty where there are none."""
    text = show_name("".join(texts))
    find_families(text)
    lacking = sorted({character for character in text if not is_plain(character) and not FOUND[character]})
    if not lacking:
        return ""
    scripts = sorted({name_script(character) for character in lacking})
    shown = ", ".join(f"U+{ord(character):04X}" for character in lacking[:3])
    more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
    return f"no installed font has {shown}{more} ({', '.join(scripts)}): PNG charts show boxes. Noto Sans has them"


def name_script(character: str) -> str:
    """The word that a letter's name begins with, such as DEVANAGARI."""
    letter = unicodedata.category(character)[0] in "LM"
    return unicodedata.name(character, "letters").split()[0] if letter else "symbols"
