"""docs/full-size.md says what the commands know, and names the sources that setup asks."""

import re
from functools import lru_cache
from pathlib import Path

import pytest

from adaface.setup.recipe import SD15
from adaface.sources.places import HubPlace, parse_place
from tiny_cli import run

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "full-size.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = re.findall(r"^adaface (\w+)([^#\n]*)", BLOCKS, re.MULTILINE)
KNOWN = ("doctor", "setup", "generate", "embed")
# sections, by their headings, and the command that an option there is of if none stands before it
SECTIONS = {
    "2. Get the models": "setup",
    "The self-check": "setup",
    "Other names": "setup",
    "Without a network": "setup",
    "3. Pictures": "generate",
    "Memory and speed": "generate",
}
FLAG = r"--[a-z][\w-]*"


@lru_cache
def options(command: str) -> frozenset[str]:
    """What `--help` of a command lists."""
    return frozenset(re.findall(r"(?<![\w-])--?[a-z][\w-]*", run(command, "--help").stdout))


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_the_commands_are_those_of_the_way_from_nothing_to_pictures():
    assert {name for name, _ in COMMANDS} == set(KNOWN)


@pytest.mark.parametrize("command", KNOWN)
def test_every_option_in_a_command_exists(command):
    used = {
        o for name, rest in COMMANDS if name == command for o in re.findall(r"(?<!\S)--?[a-z][\w-]*", rest)
    }
    assert used <= options(command)


@pytest.mark.parametrize(("heading", "usual"), SECTIONS.items())
def test_every_option_in_a_section_is_one_of_its_command(heading, usual):
    """`--x` alone is of the section's command; `adaface name ... --x` of the named one."""
    (section,) = re.findall(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", TEXT, re.DOTALL | re.MULTILINE)
    section = re.sub(r"```.*?```", "", section, flags=re.DOTALL)
    found = 0
    for span in re.findall(r"`([^`]*--[^`]*)`", section):
        named = re.match(r"adaface (\w+)", span)
        flags = re.findall(FLAG, span)
        assert set(flags) <= options(named[1] if named else usual), span
        found += len(flags)
    assert found


def test_no_option_stands_outside_these_sections():
    headings = [line.lstrip("# ") for line in TEXT.splitlines() if line.startswith("##")]
    for heading in headings:
        (body,) = re.findall(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", TEXT, re.DOTALL | re.MULTILINE)
        alone = re.findall(rf"`({FLAG})", body)
        assert heading in SECTIONS or not alone, (heading, alone)


def test_every_source_of_setup_stands_in_the_table():
    for source in SD15:
        place = parse_place(source.place)
        assert isinstance(place, HubPlace)
        assert f"`{place.repo}`" in TEXT
        assert f"| {source.role} |" in TEXT


def test_each_role_is_said_to_take_a_file_or_a_folder_as_it_does():
    rows = dict(re.findall(r"^\| ([a-z_, ]+) \| (.*) \|$", TEXT.split("### Other names")[1], re.MULTILINE))
    takes = {role: words for roles, words in rows.items() for role in roles.split(", ")}
    for source in SD15:
        assert takes[source.role].startswith("one " if source.one_file else "a "), source.role


def test_what_can_be_left_out_is_said():
    optional = " and ".join(sorted((source.role for source in SD15 if source.optional), reverse=True))
    assert f"`--without` takes {optional}" in TEXT
