"""Words of messages: long lists in short, and what may have been meant."""

import difflib
from collections.abc import Sequence


def shorten(words: Sequence[str], most: int) -> str:
    """The first ``most`` words, and how many more there are."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def suggest(name: str, names: Sequence[str]) -> str:
    """The names nearest to one that there is not."""
    return ", ".join(difflib.get_close_matches(name, names, n=3, cutoff=0.4)) or "none"
