import pytest

from adaface.errors import ConfigError, FormatError, MissingFileError
from adaface.evaluation.run.prompts import PromptLine, as_text, as_yaml, prompt_line, read_prompts


def test_a_text_file_has_a_prompt_a_line_in_sets(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("# mine\na photo of <person>\n\n[style]\n  a sketch  of <person> \na photo of <person>\n")
    assert read_prompts(file) == (
        PromptLine("a photo of <person>"),
        PromptLine("a sketch of <person>", "style"),
        PromptLine("a photo of <person>", "style"),
    )


def test_a_prompt_that_stands_twice_is_drawn_once(tmp_path):
    (tmp_path / "mine.txt").write_text("a photo of <person>\na photo of <person>\n")
    assert len(read_prompts(tmp_path / "mine.txt")) == 1


def test_yaml_is_a_list_or_sets_by_name(tmp_path):
    (tmp_path / "list.yaml").write_text("- a photo of <person>\n")
    (tmp_path / "sets.yml").write_text(
        "scene: [a photo of <person> in a meadow]\nstyle: [a sketch of <person>]\n"
    )
    assert read_prompts(tmp_path / "list.yaml") == (PromptLine("a photo of <person>"),)
    assert [line.kind for line in read_prompts(tmp_path / "sets.yml")] == ["scene", "style"]


@pytest.mark.parametrize("lines", [
    "4\tz-jungle\ta photo of z in a jungle\ta photo of young boy in a jungle\ta photo of boy in a jungle",
    "4\tz-in-a-jungle\ta photo of z, , , in a jungle\ta photo of young boy in a jungle",
    "z-in-a-jungle\ta photo of z in a jungle\ta photo of {}{} in a jungle",
])  # fmt: skip
def test_tables_of_the_original_are_read_with_z_as_the_person(tmp_path, lines):
    (tmp_path / "alice-prompts.txt").write_text(lines + "\n")
    assert read_prompts(tmp_path / "alice-prompts.txt") == (PromptLine("a photo of <person> in a jungle"),)


def test_only_the_word_z_is_the_person(tmp_path):
    (tmp_path / "t.txt").write_text("4\td\ta zebra and z, oil painting\tc\n")
    assert read_prompts(tmp_path / "t.txt")[0].text == "a zebra and <person> oil painting"


def test_a_prompt_without_a_person_gets_one_as_in_generate():
    assert prompt_line("a woman in a meadow").text == "a woman <person> in a meadow"
    assert prompt_line("a meadow").text == "a photo of <person>, a meadow"


def test_people_stand_in_a_prompt_under_their_own_names():
    line = prompt_line("a photo of <person> and <other>")
    assert line.people == 2
    assert line.filled(["alice", "bob"]) == "a photo of <alice> and <bob>"
    assert prompt_line("a photo of <person>").filled(["other"]) == "a photo of <other>"


@pytest.mark.parametrize("write", [as_text, as_yaml])
def test_a_list_that_is_written_is_read_back(tmp_path, write):
    lines = (
        PromptLine("a photo of <person>: ünï", "a"),
        PromptLine("a sketch of <person>", "b"),
        PromptLine("<person> in the rain"),  # of no set, behind one
    )
    file = tmp_path / ("x.txt" if write is as_text else "x.yaml")
    file.write_text(write(lines), encoding="utf-8")
    assert read_prompts(file) == lines


@pytest.mark.parametrize(("text", "message"), [
    ("  ", "prompt: empty. Write what to draw"),
    ("<alice> in a park", "names <alice>. The subject of each picture stands as <person>"),
    ("a photo of <other>", "has <other> and no <person>"),
])  # fmt: skip
def test_a_bad_prompt_says_what_to_write(text, message):
    with pytest.raises(ConfigError, match=message):
        prompt_line(text)


@pytest.mark.parametrize(("name", "content", "error", "message"), [
    ("a.txt", "# nothing\n", ConfigError, "a.txt: no prompt in it. Write one a line"),
    ("a.yaml", "- ''\n", ConfigError, "a.yaml, prompt 1: empty"),
    ("a.yaml", "scene: 3\n", FormatError, "give a list of prompts, or sets by their names"),
    ("a.yaml", "- [", FormatError, "a.yaml: not YAML"),
    ("a.txt", "1\t2\t3\t4\t5\t6\n", FormatError, "a.txt, line 1: 6 columns"),
    ("a.txt", "3\tx\t\tc\n", ConfigError, "a.txt, line 1: empty"),
])  # fmt: skip
def test_a_bad_list_says_where_it_is_bad(tmp_path, name, content, error, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message):
        read_prompts(tmp_path / name)


def test_a_list_that_is_not_there_or_no_text_is_told(tmp_path):
    with pytest.raises(MissingFileError, match=r"x\.txt: no such file"):
        read_prompts(tmp_path / "x.txt")
    (tmp_path / "p.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(FormatError, match=r"not readable as text .* Save it as UTF-8"):
        read_prompts(tmp_path / "p.txt")
