import re
import subprocess
import sys

import pytest

from ablations.__main__ import main
from ablations.cli.help import EXAMPLES, GLOSSARY, GROUPS, WORDS
from ablations.cli.parser import PARSERS, make_parser
from convnext_path import LADDERS

NAMES = [word for words in WORDS.values() for word in words]


def show(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_words_and_terms_are_said_first(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = show(capsys)
    assert sorted(NAMES) == sorted(PARSERS) == sorted(EXAMPLES)
    for name in (*WORDS, *NAMES, *GLOSSARY):
        assert re.search(rf"^ *{name}\b", text, re.MULTILINE), name
    assert list(GLOSSARY) == ["ladder", "rung", "step", "trial", "study", "seed", "recipe", "record"]
    assert max(map(len, text.splitlines()[:-3])) <= 80


@pytest.mark.parametrize("word", NAMES)
def test_help_is_in_words(word: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = show(capsys, word)
    assert not re.search(r"Reader|hint|NoneType|null|None\b|<class|Union|type:", text)
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(f"usage: python -m ablations {word} ")
    assert f"Example: python -m ablations {word}" in text
    assert all(text.count(f"\n{title}:\n") <= 1 for title in GROUPS)


@pytest.mark.parametrize("word", NAMES)
def test_every_option_says_what_it_means_and_its_default(word: str) -> None:
    parser = PARSERS[word]()
    for action in parser._actions:
        if action.help == "==SUPPRESS==" or action.dest in ("help", "print_config"):
            continue
        shown = parser._get_formatter()._get_help_string(action)
        assert len(shown.split()) >= 3, action.option_strings
        assert shown[0] in "W" or not shown[0].isupper() or shown.startswith(("Ray", "CPU")), shown
        assert not shown.endswith("."), shown
        takes_value = action.option_strings and action.nargs != 0 and not action.required
        optional = ("flip", "references", "weights", "config", "trial")  # whose default is none of them
        assert not takes_value or "(default" in shown or action.dest in optional, action.option_strings


def test_options_stand_in_groups_by_what_they_decide(capsys: pytest.CaptureFixture[str]) -> None:
    text = show(capsys, "run")
    places = [text.find(f"\n{title}:\n") for title in GROUPS if title != "Which machine to plan for"]
    assert sorted(places) == places
    assert min(places) > 0
    for rung in LADDERS["convnext-nano"]:
        assert re.search(rf"\b{rung.name}\b", text)


@pytest.mark.parametrize("word", ["run", "compare", "plan"])
def test_every_option_has_one_group(word: str) -> None:
    parser = PARSERS[word]()
    names = [name for names in GROUPS.values() for name in names.split()]
    assert len(names) == len(set(names))
    for action in parser._actions:
        if action.dest not in ("help", "config", "print_config"):
            assert action.dest.partition(".")[0] in names, action.dest


@pytest.mark.parametrize("option", ["--study", "--wandb", "--keep", "--join", "--strict", "--keep-stale", "--dry-run"])
def test_a_word_does_not_offer_what_it_does_not_use(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not re.search(rf"^  {option}\b", show(capsys, "plan"), re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run --partial", "plot, report and wandb"),
        ("status x --trial gelu:0", "verify"),
        ("bench --profile a100", "plan"),
        ("cost --format csv --keep", "run"),
        ("run --models resnet18", "compare"),
        ("prepare --root x --out y --holdout 0.1", "run, compare and plan"),
    ],
)
def test_an_option_of_another_word_is_told_as_such(
    command: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        make_parser().parse_args(command.split())
    assert f"is not an option of this command; it belongs to {words}\n" in capsys.readouterr().err


def test_help_loads_no_torch() -> None:
    code = "import sys; from ablations.cli.parser import make_parser\nmake_parser()\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
