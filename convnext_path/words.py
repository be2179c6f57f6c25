"""Words of messages: long lists in short, what may have been meant, and names that any file or screen can hold."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence


def shorten(words: Sequence[str], most: int) -> str:
    """The first ``most`` words, as text on one line, and how many more there are."""
    return ", ".join(map(show_name, words[:most])) + (f" and {len(words) - most} more" if len(words) > most else "")


#: Who an address is opened by, up to the last @ before a space; a key may hold slashes. A path that was an address has
#: lost a slash.
CREDENTIALS = re.compile(r"(?P<begin>:/{1,2})(?!/)(?P<who>[^\s/@:]*:\S*|[^\s/]*)@")
PORT, HOST = re.compile(r"[^\s/@:]*:\d+/"), re.compile(r"[\w.-]+\.[a-z]{2,}\b", re.I)
#: The same where no address begins: //USER:KEY@HOST/, and USER:KEY@HOST:/ as ssh has it.
BARE = re.compile(r"""(?<![^\s'"=])((?://)?[\w.-]+:(?!/))[^\s@]+@(?=[\w.-]+[:/])""")
#: What a signed address, or one with a key, has behind its question mark.
SIGNATURES = re.compile(
    r"""([?&;#][\w.%~-]*
    (?:signature|token|jwt|bearer|secret|passw(?:or)?d|passphrase|key|key-?id|credentials?|authorization|session|ticket
    |(?<![a-z])(?:sig|sas|pass|pwd?|sk|hmac|code|auth))
    (?:[._-][\w.-]*|id)?(?:[=:]|%3[ad]))[^&;\s'"]+""",
    re.I | re.X,
)


def mask(text: str) -> str:
    """A text without the secrets of the addresses in it: each is three stars."""
    return SIGNATURES.sub(r"\1***", BARE.sub(r"\1***@", CREDENTIALS.sub(hide, text)))


def hide(found: re.Match[str]) -> str:
    """Credentials as three stars. In an address of the web what looks like a port is one, unless a host follows."""
    is_web = found.string[: found.start()].lower().endswith(("http", "https"))
    if is_web and PORT.match(found["who"]) and not HOST.match(found.string, found.end()):
        return found[0]
    return f"{found['begin']}***@"


def refuse_secrets(name: str, address: str | None) -> None:
    """Raise a ValueError where an address that is going to be kept holds credentials; the message does not."""
    address = "_".join((address or "").split(" "))  # all of it is one address: a key may hold spaces
    if (":/" in address or BARE.match(address)) and mask(address) != address:
        raise ValueError(
            f"{name} {mask(address)} holds credentials; leave them to the environment (such as AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY) or to the storage's own configuration"
        )


def join(words: Iterable[str], last: str = "or") -> str:
    """a, b or c."""
    *others, end = words
    return f"{', '.join(others)} {last} {end}" if others else end


def suggest(name: str, names: Sequence[str]) -> str:
    """The names nearest to one that there is not."""
    return ", ".join(difflib.get_close_matches(name, names, n=3, cutoff=0.4)) or "none"


#: Joins letters of Persian and of Indian scripts, and emoji.
JOINERS = "\u200c\u200d"


def show_name(name: object) -> str:
    """A name, or what else is told, as text on one line: what is no character of text is escaped, as Python writes it.

    Names come from folders and from people's own code: they may hold bytes that are not UTF-8 (lone surrogates), line
    breaks, control characters, or marks that turn the direction of all that follows.
    """
    return "".join(map(show_character, str(name)))


def show_character(character: str) -> str:
    kind = unicodedata.category(character)
    if (kind[0] != "C" and kind not in ("Zl", "Zp")) or character in JOINERS:
        return character
    if kind == "Cs" and "\udc80" <= character <= "\udcff":  # a byte of a file's name
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
