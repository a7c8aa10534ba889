"""The command line, called in this process."""

import sys

import pytest

from trimcore.cli.main import main


@pytest.fixture
def trimcore(monkeypatch, capfd):
    """trimcore("list", ...) -> exit code, output, error output."""

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["trimcore", *map(str, arguments)])
        capfd.readouterr()
        code = main()
        return code, *capfd.readouterr()

    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # main() sets it
    return call
