"""docs/full-size.md says what the commands know, and names the sources that setup asks."""

import re
from pathlib import Path

import pytest

from adaface.setup.recipe import SD15
from adaface.sources.places import HubPlace, parse_place
from tiny_cli import run

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "full-size.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = re.findall(r"^adaface (\w+)([^#\n]*)", BLOCKS, re.MULTILINE)


def options(command: str) -> set[str]:
    """What `--help` of a command lists."""
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", run(command, "--help").stdout))


def test_the_commands_are_those_of_the_way_from_nothing_to_pictures():
    assert {name for name, _ in COMMANDS} == {"doctor", "setup", "generate", "embed"}


@pytest.mark.parametrize("command", ["doctor", "setup", "generate", "embed"])
def test_every_option_in_a_command_exists(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    used = {
        o for name, rest in COMMANDS if name == command for o in re.findall(r"(?<!\S)--?[a-z][\w-]*", rest)
    }
    assert used <= options(command)


def test_every_option_in_the_text_exists_somewhere(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    known = set().union(*(options(name) for name in ("doctor", "setup", "generate", "embed")))
    assert set(re.findall(r"`(--[a-z][\w-]*)", TEXT)) <= known


def test_every_source_of_setup_stands_in_the_table():
    for source in SD15:
        place = parse_place(source.place)
        assert isinstance(place, HubPlace)
        assert f"`{place.repo}`" in TEXT
        assert f"| {source.role} |" in TEXT
