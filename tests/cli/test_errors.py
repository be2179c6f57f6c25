import pytest

from ablations.cli.errors import fail, told


def test_an_error_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        fail("what\n was   wrong")
    assert capsys.readouterr().err == "error: what was wrong\n"


def test_an_error_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        fail("\x1b[2J at s3://me:hunter2@bucket\0")
    assert capsys.readouterr().err == "error: \\x1b[2J at s3://***@bucket\\x00\n"


@pytest.mark.parametrize("name", ["x" * 300, b"caf\xe9" * 100])
def test_errors_of_the_system_are_told_without_their_number(
    name: str | bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"), told():
        open(name).close()
    error = capsys.readouterr().err
    assert error.endswith(": File name too long\n")
    assert "Errno" not in error


@pytest.mark.parametrize("error", [ValueError("no such data"), OSError("no such file")])
def test_what_cannot_be_had_is_told(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"), told():
        raise error
    assert capsys.readouterr().err == f"error: {error}\n"


def test_mistakes_of_ours_are_not() -> None:
    with pytest.raises(KeyError), told():
        raise KeyError("ours")
