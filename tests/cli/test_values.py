import math
import string
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ablations.cli.options import read_options
from ablations.cli.parser import make_run_parser
from ablations.cli.values import DEEPEST, Reader, ReadError, check_config, load_config
from ablations.study.keeping import Keeping
from ablations.study.request import LadderRequest

#: Words that YAML takes for numbers, dates, truth, nothing, or syntax.
YAMLISH = (
    "#2", "&a", "*a", "!t", "!!int 3", "null", "Null", "~", "true", "yes", "off", "1e-3", "1:30", "0x10", "0o7", "010",
    "1_000", "2026-01-01", "2026-01-01T10:00:00", ".inf", "-.nan", "[a]", "{a: b}", "- x", "-", "--- x", "...", "a: b",
    "a #b", "@x", "`x", "%x", "|", ">", "? x", "'x'", '"x"', " x", "x ", "=", "<<", "é", "名前", "\u0301", "a,b",
)  # fmt: skip


@pytest.mark.parametrize("word", YAMLISH)
def test_text_is_what_was_typed(word: str) -> None:
    assert read_options(Keeping, make_run_parser().parse_args([f"--study={word}"])).study == word


@pytest.mark.parametrize(
    "word", ["1:30", "0x10", "0b1", "0o7", "1_0", "1e1", "1.0", " 5", "5 ", "", "٣", "²", "true", "null", "5" * 5000]
)
def test_whole_numbers_are_decimal(word: str) -> None:
    with pytest.raises(ReadError, match="takes a whole number, got"):
        Reader(int)(word)


@pytest.mark.parametrize(("word", "value"), [("5", 5), ("-5", -5), ("+5", 5), ("007", 7), (5, 5)])
def test_whole_numbers(word: Any, value: int) -> None:
    assert Reader(int)(word) == value


@pytest.mark.parametrize("word", ["1:30.5", "1_0.0", ".inf", "nan", "inf", "0x1p3", "1e", "e5", ".", "1,5", True, None])
def test_no_floats(word: Any) -> None:
    with pytest.raises(ReadError, match="takes a number"):
        Reader(float)(word)


@pytest.mark.parametrize(
    ("hint", "word", "value"),
    [
        (int | float | str | None, "00:12:00:00", "00:12:00:00"),
        (int | float | str | None, "0.5", 0.5),
        (int | float | str | None, "5", 5),
        (int | float | str | None, None, None),
        (tuple[int, ...] | str | int, "[0,1]", [0, 1]),
        (tuple[int, ...] | str | int, "2", 2),
        (tuple[int, ...] | str | int, "auto", "auto"),
        (bool | Literal["warn"] | None, "warn", "warn"),
        (bool | Literal["warn"] | None, "True", True),
        (Literal[16, "16-mixed"], "16", 16),
        (float, "1e-3", 0.001),
        (float, 3, 3.0),
    ],
)
def test_unions(hint: Any, word: Any, value: Any) -> None:
    found = Reader(hint)(word)
    assert (found, type(found)) == (value, type(value))


def write_config(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit):
        make_run_parser().parse_args([*words, "--print_config"])
    return capsys.readouterr().out


TEXTS = st.text(st.characters(exclude_categories=["Cc"]), min_size=1, max_size=12)
NUMBERS = st.floats(1e-300, 1e300).map(repr) | st.floats(1e-6, 1).map(lambda x: f"{x:g}")
WORDS = {
    "--study": TEXTS | st.sampled_from(YAMLISH),
    "--root": TEXTS | st.sampled_from(YAMLISH),
    "--engine.address": TEXTS,
    "--epochs": st.integers(1, 10**6).map(str),
    "--lr": NUMBERS,
    "--holdout": st.floats(0, 0.9).map(str),
    "--mean": st.lists(st.floats(-9, 9).map(str), min_size=1, max_size=3).map(",".join),
    "--seeds": st.lists(st.integers(0, 2**32 - 1).map(str), min_size=1, max_size=3).map(",".join),
    "--flip": st.sampled_from(["gelu=true", "kernel_size=7", "kernel_size=7,gelu=True"]),
    "--rungs": st.lists(st.sampled_from(["resnet", "gelu"]), min_size=1).map(",".join),
    "--trainer.precision": st.sampled_from(["16", "16-mixed", "bf16", "64"]),
    "--trainer.devices": st.sampled_from(["1", "[0,1]", "auto", "[1]"]),
    "--trainer.limit_train_batches": st.sampled_from(["1", "1.0", "0.5", "3"]),
    "--trainer.val_check_interval": st.sampled_from(["1", "1.0", "0.25", "00:01:00:00"]),
    "--trainer.deterministic": st.sampled_from(["true", "False", "warn"]),
    "--workers": st.sampled_from(["auto", "3"]),
}


@settings(deadline=None, max_examples=40)
@given(st.fixed_dictionaries({}, optional=WORDS))
@example({"--study": "1e-3"})
@example({"--study": "null", "--root": ""})
@example({"--study": "caf\udce9"})
def test_a_printed_config_gives_the_same_run(words: dict[str, str]) -> None:
    parser = make_run_parser()
    args = parser.parse_args([f"{name}={word}" for name, word in words.items()])
    text = parser.dump(args)
    again = parser.parse_object(load_config(text))
    assert vars(again.as_flat()) == vars(args.as_flat())


def test_print_config_then_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(write_config(capsys, "--study", "1e-3", "--epochs", "2", "--dry-run", "--lr", "1e-3"), "utf-8")
    args = make_run_parser().parse_args(["--config", str(file)])
    assert (args.study, args.epochs, args.dry_run, args.lr) == ("1e-3", 2, True, 0.001)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "has a twice"),
        ("a: {b: 1}\na.b: 2\n", "has a.b twice"),
        ("a: {b: 1, b: 1}\n", "has a.b twice"),
        ('a: 1\n"a": 2\n', "has a twice"),
        ('a: "\\UFFFFFFFF"\n', "is not valid YAML"),
        ('a: "\\U00110000"\n', "is not valid YAML"),
        ("a_b: 1\na-b: 2\n", "has a_b twice"),
        ("a: [", "is not valid YAML"),
        ("a: " + 3000 * "[", f"nested more than {DEEPEST} deep"),
        ("a: " + 3000 * "[" + 3000 * "]", f"nested more than {DEEPEST} deep"),
        (3000 * "- " + "a", "contains no options"),
        ("", "contains no options"),
        ("a: &a [1]\nb: *a\n", "has aliases"),
        ("a: 1\n---\nb: 2\n", "single document"),
        ("a: !!python/name:os.system\n", "has the tag tag:yaml.org,2002:python/name:os.system"),
        *(
            (f"a: !!{tag} abc\n", f"has the tag tag:yaml.org,2002:{tag}")
            for tag in ("int", "float", "timestamp", "str")
        ),
        ("a: !mine [1]\n", "has the tag !mine"),
    ],
)
def test_what_no_config_is(text: str, message: str) -> None:
    with pytest.raises(yaml.YAMLError, match=message):
        load_config(text)


@settings(deadline=None)
@given(st.text(string.printable, max_size=40))
def test_any_text_is_a_config_or_an_error(text: str) -> None:
    try:
        check_config(text)
        load_config(text)
    except (ValueError, yaml.YAMLError):
        pass


def test_numbers_keep_their_value_in_a_config() -> None:
    request = read_options(LadderRequest, make_run_parser().parse_args(["--lr", "1e-300"]))
    assert request.lr == 1e-300
    assert math.isclose(Reader(float)("0.1"), 0.1)
