import os
from pathlib import Path

from ablations.study.checkpoints import clear_checkpoints, epochs_done, find_checkpoint, list_checkpoints
from convnext_path.files import digest

WHOLE = digest(b"")
#: What is no checkpoint of ours.
FOREIGN = (
    *("x.ckpt", "last.ckpt", "00001.ckpt", "00001-x.ckpt", f"1-{WHOLE}.ckpt", f"0000a-{WHOLE}.ckpt", "notes.txt"),
    *(f"00001-{WHOLE}.ckpt~", f".00001-{WHOLE}.ckpt", f"00001-{WHOLE.upper()}.ckpt", f"00001-{WHOLE}.ckpt.part"),
)


def make(folder: Path) -> list[Path]:
    """Checkpoints after 2, 30 and 100,000 epochs."""
    files = [folder / f"{epoch:05d}-{WHOLE}.ckpt" for epoch in (2, 30, 100_000)]
    for file in files:
        file.touch()
    return files


def test_checkpoints_are_told_by_their_names_and_ordered_by_epoch(tmp_path: Path) -> None:
    files = make(tmp_path)
    for name in FOREIGN:
        (tmp_path / name).touch()
    assert list_checkpoints(tmp_path) == files
    assert [epochs_done(file) for file in files] == [2, 30, 100_000]
    files[2].write_text("damaged")
    assert find_checkpoint(tmp_path) == (files[1], [files[2]])
    assert list_checkpoints(tmp_path / "nothing") == []
    assert find_checkpoint(tmp_path / "x.ckpt") == (None, [])


def test_nothing_but_checkpoints_is_cleared(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / f".00031-{WHOLE}.ckpt.{2**22 + 1}.draft").touch()
    for name in FOREIGN:
        (tmp_path / name).touch()
    (tmp_path / f"00004-{WHOLE}.ckpt").mkdir()
    os.mkfifo(tmp_path / f"00005-{WHOLE}.ckpt")
    (tmp_path / f"00006-{WHOLE}.ckpt").symlink_to("x.ckpt")
    clear_checkpoints(tmp_path)
    left = {*FOREIGN, *(f"0000{epoch}-{WHOLE}.ckpt" for epoch in (4, 5, 6))}
    assert {entry.name for entry in tmp_path.iterdir()} == left


def test_a_folder_of_checkpoints_alone_is_cleared_away(tmp_path: Path) -> None:
    folder = tmp_path / "origin"
    folder.mkdir()
    make(folder)
    clear_checkpoints(folder)
    clear_checkpoints(folder)
    assert not folder.exists()
