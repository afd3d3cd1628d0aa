"""The command line of `obscura bench`, and its exit codes."""

import pytest

from obscura.bench import command


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nothing",), "nothing is no scenario"),
        (("--rate", "-1"), "'-1' is not a number above 0"),
        (("--duration", "nan"), "'nan' is not a number above 0"),
        (("--users", "0"), "'0' is not a whole number from 1"),
        (("--url", "ftp://host"), "'ftp://host' is not like http://host:port"),
        (("--url", "http://host:x"), "has no port"),
        (("--size", "3"), "less than 16 bytes"),
        (("--plot", "file.png"), "ends in .svg"),
        (("--pin", "4000"), "may not use"),
        (("--pin", "x"), "no list of CPUs"),
        (("--pid", "999999999"), "no process"),
        (("--accounts", "/nowhere"), "no file"),
        (("echo",), "needs --reference"),
        (("relay", "--reference"), "has no accounts"),
        (("--nonsense",), "unrecognized arguments: --nonsense"),
    ],
)
def test_what_is_not_understood_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, nothing on standard output."""
    assert command.bench(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert len(said.err.splitlines()) == 1


def test_without_its_extra_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_NEEDED", ("hdrh", "no_such_package"))
    assert command.bench(["send"]) == 1
    assert "pip install 'obscura[bench]'" in capsys.readouterr().err


def test_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.bench(["--help"]) == 0
    assert "scenarios (default: relay)" in capsys.readouterr().out
