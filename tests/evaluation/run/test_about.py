import pytest

from adaface.errors import FormatError, MissingFileError
from adaface.evaluation.run.about import About, read_about

FISH = """#!/usr/bin/fish
set -g subjects     alexachung    rex  'my bag'
set -g class_names  "young woman" \\
  dog bag   # short ones
set -g broad_classes 1 2 0
set -g sel_set 1 2
"""


def test_yaml_tells_class_words_and_kinds(tmp_path):
    (tmp_path / "a.yaml").write_text("alice: young woman\nrex: {class: corgi, kind: animal}\n")
    assert read_about(tmp_path / "a.yaml") == {
        "alice": About("young woman"), "rex": About("corgi", "animal"),
    }  # fmt: skip


def test_json_is_read_too(tmp_path):
    (tmp_path / "a.json").write_text('{"bag": {"kind": "object"}}')
    assert read_about(tmp_path / "a.json") == {"bag": About("object", "object")}


def test_lists_of_the_original_are_read_by_place(tmp_path):
    (tmp_path / "info-subjects.sh").write_text(FISH)
    assert read_about(tmp_path / "info-subjects.sh") == {
        "alexachung": About("young woman"), "rex": About("dog", "animal"), "my_bag": About("bag", "object"),
    }  # fmt: skip


def test_the_originals_long_class_words_score_and_one_list_may_stand_for_another(tmp_path):
    (tmp_path / "a.sh").write_text(
        "set -g subjects 'rex' tom\nset -g class_names dog man\nset -g broad_classes 2 1\n"
        'set -g cls_long corgi "old man"\nset -g cls_delta_strings $cls_long\n'
    )
    assert read_about(tmp_path / "a.sh") == {"rex": About("corgi", "animal"), "tom": About("old man")}


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.yaml", "alice: [1]\n", "alice: give what it is"),
    ("a.yaml", "alice: {kind: plant}\n", "alice: kind 'plant'. Kinds are person, animal, object"),
    ("a.yaml", "just words\n", "no subjects in it"),
    ("a.json", "{", "a.json: not JSON"),
    ("a.fish", "set -g subjects a b\nset -g class_names one\n", "lists of the same length"),
    ("a.fish", "set -g broad_classes 1\n", "subjects, class_names and broad_classes"),
])  # fmt: skip
def test_a_file_that_tells_nothing_says_what_to_write(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(FormatError, match=message):
        read_about(tmp_path / name)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(MissingFileError, match="no such file. --about needs"):
        read_about(tmp_path / "x.yaml")
