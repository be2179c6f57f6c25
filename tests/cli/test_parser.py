import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ablations.__main__ import main
from ablations.cli.parser import make_compare_parser, make_cost_parser, make_plan_parser, make_run_parser
from ablations.cli.values import Reader
from ablations.hints import name_types
from tests.conftest import SMALL

#: Options that may take an address.
ADDRESSES = ("--root", "--study", "--engine.address", "--data", "--trainer.devices", "--rungs")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run --ladder convnext-x", "unknown ladder 'convnext-x' (did you mean convnext-t?)"),
        ("run --rungs depthwize", "unknown rung 'depthwize' (did you mean depthwise?)"),
        ("run --data digit", "unknown data set 'digit' (did you mean digits?)"),
        ("run --recipe imagnet", "unknown recipe 'imagnet' (did you mean imagenet?)"),
        ("run --wandb ofline", "unknown --wandb mode 'ofline' (did you mean offline?)"),
        ("run --epoch 3", "unknown option --epoch; did you mean --epochs?"),
        ("run --trainer.presicion 16", "unknown option --trainer.presicion; did you mean --trainer.precision?"),
        ("run --study -x", "--study needs a value; write one that begins with a dash as --study=VALUE"),
        ("run --config ~nobody-here/x", "--config ~nobody-here/x cannot be read: there is no such user"),
        ("run --lr -1e-3", "lr"),
        ("run --epochs -5", "--epochs must be between 1 and 1000000, got -5"),
        ("run --xyzzy", "unknown option --xyzzy; see --help"),
        ("run --epochs 0", "--epochs must be between 1 and 1000000, got 0"),
        ("run --epochs many", "--epochs takes a whole number, got 'many'"),
        ("run --seeds few", "--seeds takes a number of seeds"),
        (f"run --seeds {5000 * '1'}", "--seeds takes a number of seeds"),
        (f"run --flip kernel_size={3000 * '['}", "kernel_size"),
        (f"plan --at-once {5000 * '1'}", "--at-once takes numbers of devices from 1 to 100000"),
        *((f"run --print_config {option}=s3://K:hunter2@b", "takes no secrets") for option in ADDRESSES),
        ("compare --models resnet18 --weights m=https://K:hunter2@b/w", "takes no secrets"),
        ("plan --bench https://K:hunter2@b/w", "takes no secrets"),
        ("bench --out https://K:hunter2@b/w", "takes no secrets"),
        ("status https://K:hunter2@b/w", "takes no secrets"),
        ("run --trainer.precision 17", "--trainer.precision takes"),
        ("run --image-size 31", "image size 31 is too small for rung separate_downsampling, which needs 32"),
        ("run --data imagefolder --root /nowhere", "no folder /nowhere"),
        ("cost --ladder convnext-x", "unknown ladder"),
        ("cost --format xml", "unknown --format 'xml'; allowed: table, csv, json"),
        ("cost --image-size 8", "--image-size must be between 32 and 4096, got 8"),
        ("plot /nowhere", "/nowhere contains no study"),
        ("report /nowhere", "/nowhere contains no study"),
        ("wandb /nowhere", "/nowhere contains no study"),
        ("draw", "draw"),
        ("compare", "compare needs models; see python -m ablations compare --help"),
        ("plot", "plot needs study; see python -m ablations plot --help"),
        ("compare --models swim_t", "neither torchvision nor timm has a model 'swim_t'; similar: swin_t"),
        ("compare --models resnet18 --weight x", "unknown option --weight; did you mean --weights?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    command: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    streams = capsys.readouterr()
    assert stop.value.code == 2
    assert streams.out == ""
    assert streams.err.startswith("error: ")
    assert streams.err.count("\n") == 1
    assert message in streams.err
    assert "hunter2" not in streams.err
    assert list(tmp_path.iterdir()) == []


#: Values that an option refuses, besides what is not of its type.
REFUSED = {
    "--ladder": ["", "word"],
    "--rungs": ["", ",", "word", "recipe,"],
    "--references": ["", ",", "word", "swin-t,"],
    "--flip": ["", ",", "word", "=", "kernel_size=", "kernel_size=nan"],
    "--data": ["", "word"],
    "--image-size": ["0", "-1", "1" + 400 * "0"],
    "--limit-train": ["0", "-1", "1" + 400 * "0"],
    "--holdout": ["-1", "1", "1e400", ".nan"],
    "--mean": ["", ",", "word", "nan", "inf", "1,2,nan", "1e400", "1,2"],
    "--std": ["", ",", "word", "nan", "-inf", "1,2,nan", "1e400", "1,2", "0", "-1"],
    "--recipe": ["", "word"],
    "--check-images": ["", "word"],
    "--epochs": ["0", "-1", "1" + 400 * "0"],
    "--batch-size": ["0", "1", "-1", "1" + 400 * "0"],
    "--lr": ["0", "-1", "1e400", ".nan", ".inf"],
    "--seeds": ["", ",", "word", "nan", "inf", "0", "-1", "1.5", "1e400", "1,,2", "1" + 400 * "0"],
    "--precision": ["", "word"],
    "--wandb": ["", "word"],
    "--workers": ["0", "-1", "1" + 400 * "0"],
    "--threads": ["0", "-1", "1" + 400 * "0"],
    "--loader-workers": ["-1", "1" + 400 * "0"],
    "--trainer.accelerator": ["", "word"],
    "--trainer.strategy": ["", "word", "subprocess.Popen"],
    "--engine.name": ["", "word"],
    "--engine.address": ["", "word"],  # of a cluster, where the engine is Ray
    "--engine.cpus": ["0", "-1", "1e400", ".nan"],
    "--engine.gpus": ["0", "-1", "1e400", ".nan"],
    "--bench": ["", "word"],
    "--profile": ["", "word"],
    "--at-once": ["", ",", "word", "0", "-1", "1.5", "1,,2", "1" + 400 * "0"],
    "--price": ["-1", "1e400", ".nan"],
    "--memory": ["0", "-1", "1e400", ".nan"],
    "--trainer.devices": ["", "word", "0", "-1", "nan", "[]"],
    "--trainer.num_nodes": ["0", "-1", "2"],
    "--trainer.limit_train_batches": ["0", "-1", "1.5", "1e400", ".nan"],
    "--trainer.limit_val_batches": ["0", "-1", "1.5", "1e400", ".nan"],
    "--trainer.val_check_interval": ["", "word", "0", "-1", "1.5", "1e400", ".nan", "nan"],
    "--trainer.check_val_every_n_epoch": ["0", "-1"],
    "--trainer.num_sanity_val_steps": ["-2"],
    "--trainer.log_every_n_steps": ["-1"],
    "--trainer.accumulate_grad_batches": ["0", "-1"],
    "--trainer.gradient_clip_val": ["0", "-1", "1e400", ".nan"],
    "--trainer.gradient_clip_algorithm": ["", "word"],
    "--format": ["", "word"],
    "--models": ["", ",", "word", "resnet18,"],
    "--weights": ["", ",", "word", "resnet18=/nowhere"],
}
ANY = {"--root", "--study"}  # take any string
PARSERS = {
    "run": make_run_parser(),
    "plan": make_plan_parser(),
    "cost": make_cost_parser(),
    "compare": make_compare_parser(),
}
OPTIONS = [
    (command, option)
    for command, parser in PARSERS.items()
    for option in parser._option_string_actions
    if option.startswith("--") and not option.endswith("+")
    if command in ("run", "cost") or option not in PARSERS["run"]._option_string_actions  # which they take as run does
]


def wrong_values(command: str, option: str) -> Iterator[str]:
    """What an option of that type cannot take, whatever it means, and what it refuses for what it means."""
    action = PARSERS[command]._option_string_actions[option]
    names = name_types(action.type.hint) if isinstance(action.type, Reader) else ["str"]
    if "str" not in names:
        yield from ("", "word", "nan", "inf", "-inf", "[1]", "{}")
    if names == ["int"]:
        yield from ("1.5", "1e400", "true")
    if names == ["bool"]:
        yield from ("1", "0", "maybe", "1e400")
    yield from REFUSED.get(option, []) if (command, option) != ("cost", "--ladder") else ["", "word"]


def refuse(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """The one line that a command ends with, and nothing written."""
    with pytest.raises(SystemExit) as stop:
        main(command)
    streams = capsys.readouterr()
    assert stop.value.code == 2, command
    assert streams.out == ""
    assert streams.err.startswith("error: ")
    assert streams.err.count("\n") == 1, streams.err
    assert list(Path.cwd().iterdir()) == []
    return streams.err


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_misspelt_gives_the_nearest(
    command: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for wrong in {option[:-2] + option[-1] + option[-2], option[:3] + option[4:]} - {option}:
        for given in ([wrong, "1"], [f"{wrong}=1"], [wrong]):
            assert f"unknown option {wrong}; did you mean {option}?" in refuse(capsys, command, *given)


@pytest.mark.parametrize(("command", "option"), [(c, o) for c, o in OPTIONS if any(wrong_values(c, o))])
def test_every_option_refuses_what_it_cannot_take(
    command: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    machine = {"run": ["--trainer.accelerator=cpu"], "compare": ["--models=resnet18"]}.get(command, [])
    name = option.strip("-").removesuffix(".name").split(".")[-1].replace("_", "-").rstrip("s")
    for value in wrong_values(command, option):
        line = refuse(capsys, command, *machine, f"{option}={value}")
        assert name in line.lower().replace("_", "-"), (value, line)


def test_every_option_is_thought_of() -> None:
    switches = {
        "--compile",
        "--dry-run",
        "--join",
        "--keep",
        "--keep-stale",
        "--pretrained",
        "--skip-bad-images",
        "--strict",
    }
    untyped = {"--help", "--config", "--print_config", "--trainer", *switches}
    options = {option for _, option in OPTIONS}
    assert {option for command, option in OPTIONS if any(wrong_values(command, option))} == options - untyped - ANY
    assert set(REFUSED) <= options


def test_config_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", *SMALL, "--print_config"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    config = yaml.safe_load(text)
    assert (config["epochs"], config["rungs"]) == (1, "recipe,layer_norm")
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert main(["run", "--config", str(file), "--study", str(tmp_path / "study"), "--dry-run"]) == 0
    assert "2 trials: 2 new" in capsys.readouterr().out
    file.write_text(text + "epohcs: 3\n")
    with pytest.raises(SystemExit) as stop:
        main(["run", "--config", str(file)])
    assert stop.value.code == 2
    assert "epohcs" in capsys.readouterr().err


def test_a_config_that_cannot_be_written_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        full.reconfigure(line_buffering=True, write_through=True)
        monkeypatch.setattr("sys.stdout", full)
        assert main(["run", *SMALL, "--print_config"]) == 1
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space left"):
            full.close()
    assert capsys.readouterr().err == "error: No space left on device\n"


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(9 * ['*' + old])}]\n" for old, new in itertools.pairwise("abcdefghij")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: !!python/object/apply:os.mkdir [ran]\n", "has the tag tag:yaml.org,2002:python/"),
        ("!!python/object/apply:os.mkdir [ran]\n", "contains no options"),
        ("a: !!python/object/new:os.mkdir [ran]\n", "has the tag tag:yaml.org,2002:python/"),
        ("rungs: !!python/name:evil.Class\n", "has the tag tag:yaml.org,2002:python/"),
        ("rungs: !!python/module:evil\n", "has the tag tag:yaml.org,2002:python/"),
        ("trainer: {strategy: {class_path: evil.Class}}\n", "--trainer.strategy takes text"),
        ("trainer: {accelerator: {class_path: evil.Class}}\n", "--trainer.accelerator takes text"),
        (BOMB + "epochs: *j\n", "has aliases"),
        ("epochs: &a [*a]\n", "has aliases"),
        ("- epochs\n- 3\n", "contains no options"),
        ("epochs\n", "contains no options"),
        ("", "contains no options"),
        ("# nothing\n", "contains no options"),
        ("epochs: [1\n", "is not valid YAML"),
        ("\tepochs: 1\n", "is not valid YAML"),
        ("\0\1\2", "is not valid YAML"),
        (b"\x89PNG\r\n\x1a\n", "is not valid YAML"),
        ("epohcs: 3\n", "unknown option epohcs; did you mean epochs?"),
        ("engine: [ray]\n", "engine takes options of its own, got ['ray']"),
        ("trainer: {presicion: 16}\n", "unknown option trainer.presicion; did you mean trainer.precision?"),
        ("print_config: true\n", "unknown option print_config"),
        ("epochs: many\n", "--epochs takes a whole number, got 'many'"),
        ("epochs: [1]\n", "--epochs takes a whole number"),
        ("trainer: {precision: 17}\n", "--trainer.precision takes 64, 32, 16"),
        ("trainer: 17\n", "trainer takes options of its own, got '17'"),
        ("lr: .inf\n", "--lr takes a number, got '.inf'"),
        ("dry_run: maybe\n", "--dry-run takes true or false"),
        ("ladder: null\n", "unknown ladder None"),
        ("1: 2\n", "unknown option 1; see --help"),
        ('"\\e[2Jx": 2\n', "unknown option \\x1b[2Jx"),
        ('study: "\\UFFFFFFFF"\n', "is not valid YAML"),
        ("trainer: {devices: 1}\ntrainer.devices: 2\n", "has trainer.devices twice"),
        ("root: s3://K:hunter2@b\n", "--root takes no secrets"),
    ],
)
def test_a_config_file_runs_no_code_and_fails_in_one_line(
    text: str | bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, here = tmp_path / "config.yaml", tmp_path / "here"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    here.mkdir()
    (tmp_path / "evil.py").write_text("import os\n\nos.mkdir('ran')\n\n\nclass Class: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(here)
    assert message in refuse(capsys, "run", "--config", str(file))


def test_no_config_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nowhere.yaml cannot be read: No such file" in refuse(capsys, "run", "--config", "nowhere.yaml")
    assert "cannot be read: it is a folder" in refuse(capsys, "run", "--config", str(tmp_path))


def test_an_engine_is_named_as_it_is_typed(tmp_path: Path) -> None:
    for text in ("engine: ray\n", "engine: {name: ray}\n", "engine.name: ray\n"):
        (tmp_path / "config.yaml").write_text(f"{text}join: True\nstrict: FALSE\n")
        args = make_run_parser().parse_args(["--config", str(tmp_path / "config.yaml")])
        assert (args.engine.name, args.join, args.strict) == ("ray", True, False)
