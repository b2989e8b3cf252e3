from dataclasses import replace

import pytest

from adaface.errors import FormatError
from adaface.evaluation.folder import RUN_JSON
from adaface.evaluation.records import Subject
from adaface.evaluation.run.begin import before, parts_of, subject_row, subjects_of, write_facts
from adaface.files import sha256
from adaface.pipelines.manifest import Part
from adaface.pipelines.stack import Stack

NOBODY = {"name": "tiny", "parts": {}}


@pytest.fixture(scope="module")
def stack(tiny_stack) -> Stack:
    return Stack.load(tiny_stack)


def test_parts_are_told_by_digest_and_licence(stack):
    told = parts_of(stack, "encoder", "recognizer", "vae")
    assert told == {
        "encoder": {"sha256": stack.part("encoder").sha256, "licence": "MIT"},
        "recognizer": {"sha256": stack.part("recognizer").sha256, "licence": "Apache-2.0"},
    }


def test_a_part_that_the_user_names_is_told_by_its_files_or_its_place(stack):
    named = stack.with_parts({"encoder": stack.path("encoder")})
    assert parts_of(named, "encoder")["encoder"]["sha256"] == sha256(stack.path("encoder"))
    there = replace(stack, roles={**stack.roles, "base": Part(hub="owner/name", revision="abc")})
    assert parts_of(there, "base")["base"]["sha256"] == "hub:owner/name@abc"


def test_a_new_or_empty_folder_has_no_run_before(tmp_path):
    assert before(tmp_path, {}, NOBODY) is None
    (tmp_path / ".DS_Store").write_text("")
    assert before(tmp_path, {}, NOBODY) is None


def test_subjects_are_read_back_as_they_were_written(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_text(name)
    (tmp_path / "run").mkdir()
    photos = [(tmp_path / f"{name}.png").resolve() for name in ("a", "b")]
    one = Subject("alice", (photos[0],), (photos[1],), recognizer="sface", class_word="young woman")
    (again,) = subjects_of({"subjects": [subject_row(one, tmp_path / "run")]}, tmp_path / "run")
    assert (again.given, again.scored, again.class_word, again.apart) == (
        one.given,
        one.scored,
        "young woman",
        True,
    )


def test_a_run_json_of_something_else_is_told(tmp_path):
    (tmp_path / RUN_JSON).write_text('{"steps": 3}')
    with pytest.raises(FormatError, match="Give the folder of an evaluation"):
        before(tmp_path, {}, NOBODY)


def test_a_run_json_of_another_version_is_told(tmp_path):
    write_facts(tmp_path, {"request": {}, "version": 99})
    with pytest.raises(FormatError, match="of another version of adaface. Choose another folder"):
        before(tmp_path, {}, NOBODY)


def test_a_kind_of_subject_that_there_is_not_is_told(tmp_path):
    row = subject_row(Subject("rex", broad_class="animal"), tmp_path)
    assert subjects_of({"subjects": [row]}, tmp_path)[0].broad_class == "animal"
    with pytest.raises(FormatError, match="its subjects cannot be read .*kind 'plant'. Kinds are person"):
        subjects_of({"subjects": [row | {"broad_class": "plant"}]}, tmp_path)


def test_subjects_that_cannot_be_read_are_told(tmp_path):
    with pytest.raises(FormatError, match="its subjects cannot be read"):
        subjects_of({"subjects": [{"name": "alice"}]}, tmp_path)
