import json
from dataclasses import replace

import pytest
from PIL import Image

from adaface.errors import ConfigError, FormatError, MissingFileError
from adaface.evaluation.folder import MANIFEST, line
from adaface.evaluation.records import Picture, Subject
from adaface.evaluation.run.outside import find_pictures
from adaface.evaluation.run.prompts import PromptLine
from adaface.files import sha256

PEOPLE = [Subject("alice"), Subject("bob")]
LINES = [PromptLine("a photo of <person> in a meadow", "scene"), PromptLine("a sketch of <person>", "style")]


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (len(str(path)) % 256, 0, 0)).save(path)
    return path


def found(tmp_path, subjects=PEOPLE, lines=LINES):
    return find_pictures(tmp_path / "theirs", subjects, lines, tmp_path / "run")


def row(tmp_path, **entry):
    """A list of one picture of alice."""
    picture(tmp_path / "theirs" / "x.png")
    given = {"file": "x.png", "subject": "alice", "prompt": "a photo of <alice>", **entry}
    (tmp_path / "theirs" / "pictures.jsonl").write_text(json.dumps(given) + "\n")


def test_folders_tell_subject_and_prompt(tmp_path):
    path = picture(tmp_path / "theirs" / "alice" / "a-sketch-of-person" / "out_3.png")
    (one,) = found(tmp_path).pictures
    assert (one.subjects, one.template, one.kind, one.seed) == (
        ("alice",),
        "a sketch of <person>",
        "style",
        3,
    )
    assert (one.prompt, one.file) == ("a sketch of <alice>", "../theirs/alice/a-sketch-of-person/out_3.png")
    assert one.sha256 == sha256(path)


@pytest.mark.parametrize("name", [
    "a photo of alice in a meadow", "02-a-photo-of-person-in-a-meadow", "a_photo_of_z_in_a_meadow",
    "alice-a-photo-of-z-in-a-meadow", "a-photo-of-in-a-meadow",
])  # fmt: skip
def test_a_folders_name_is_matched_with_the_prompts_in_any_spelling(tmp_path, name):
    picture(tmp_path / "theirs" / "alice" / name / "0.png")
    assert found(tmp_path).pictures[0].template == LINES[0].text
    assert found(tmp_path).notes == ["no pictures of bob"]


def test_a_name_that_was_cut_off_is_still_its_prompt(tmp_path):
    long = PromptLine("a photo of <person> as an astronaut on Mars, red dust, wide landscape, film still")
    name = "alice-" + long.text.replace("<person>", "z").replace(",", "").replace(" ", "-")
    picture(tmp_path / "theirs" / "alice" / name[:60] / "0.png")
    assert found(tmp_path, lines=[*LINES, long]).pictures[0].template == long.text


def test_a_prompt_of_ones_own_is_told_by_a_text_file_or_the_folders_name(tmp_path):
    picture(tmp_path / "theirs" / "alice" / "p1" / "0.png")
    (tmp_path / "theirs" / "alice" / "p1" / "prompt.txt").write_text("<alice> on a horse\n")
    picture(tmp_path / "theirs" / "bob" / "bob-in-a-boat" / "0.png")
    made = found(tmp_path)
    assert [one.template for one in made.pictures] == ["<person> on a horse", "<person> in a boat"]
    assert made.notes == ["1 prompts are told from the names of folders, such as '<person> in a boat'"]


def test_two_people_share_a_folder_named_after_both(tmp_path):
    picture(tmp_path / "theirs" / "alice+bob" / "alice-and-bob" / "0.png")
    (one,) = found(tmp_path).pictures
    assert (one.subjects, one.template) == (("alice", "bob"), "<person> and <other>")


def test_pictures_without_numbers_are_numbered(tmp_path):
    for name in ("x.png", "y.png", "z.jpg"):
        picture(tmp_path / "theirs" / "alice" / "a-sketch-of-person" / name)
    assert [one.seed for one in found(tmp_path).pictures] == [0, 1, 2]


def test_pictures_without_a_prompts_folder_have_the_only_prompt(tmp_path):
    picture(tmp_path / "theirs" / "alice" / "0.png")
    assert found(tmp_path, lines=LINES[:1]).pictures[0].template == LINES[0].text
    with pytest.raises(ConfigError, match=r"alice: pictures without a folder of their prompt"):
        found(tmp_path)


def test_a_list_tells_everything(tmp_path):
    row(tmp_path, seed=7, kind="scene", variant="lcm", sampler="euler")
    (one,) = found(tmp_path).pictures
    assert (one.seed, one.kind, one.variant, one.settings) == (7, "scene", "lcm", {"sampler": "euler"})
    assert (one.prompt, one.template) == ("a photo of <alice>", "a photo of <person>")


def test_a_table_is_read_too(tmp_path):
    picture(tmp_path / "theirs" / "x.png")
    (tmp_path / "theirs" / "pictures.csv").write_text(
        "file,subject,prompt\nx.png,alice+bob,<alice> hugs <bob>\n"
    )
    (one,) = found(tmp_path).pictures
    assert (one.subjects, one.template, one.seed) == (("alice", "bob"), "<person> hugs <other>", 0)


def test_a_file_that_is_not_there_is_a_counted_row(tmp_path):
    row(tmp_path, file="gone.png")
    (one,) = found(tmp_path).pictures
    assert "gone.png: no such file" in one.error


def test_the_folder_of_another_run_is_its_pictures(tmp_path):
    picture(tmp_path / "theirs" / "pictures" / "0.png")
    one = Picture(("alice",), "p", "t", 4, "pictures/0.png", variant="v", scores={"similarity": 1.0})
    (tmp_path / "theirs" / MANIFEST).write_text(line(one))
    (again,) = found(tmp_path).pictures
    assert replace(again, sha256="", file=one.file) == replace(one, scores={})


def test_strangers_pictures_are_passed_over_and_named(tmp_path):
    picture(tmp_path / "theirs" / "alice" / "a-sketch-of-person" / "0.png")
    picture(tmp_path / "theirs" / "zoe" / "a-sketch-of-person" / "0.png")
    made = found(tmp_path)
    assert [one.subjects for one in made.pictures] == [("alice",)]
    assert "pictures of zoe are passed over: no subject of that name is given" in made.notes


def test_pictures_of_nobody_who_is_known_are_an_error(tmp_path):
    picture(tmp_path / "theirs" / "zoe" / "a-sketch-of-person" / "0.png")
    with pytest.raises(
        ConfigError, match=r"no picture of alice, bob; it has pictures of zoe\. Name its folders"
    ):
        found(tmp_path)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(MissingFileError, match="no such folder. --images needs"):
        found(tmp_path)


@pytest.mark.parametrize(("entry", "message"), [
    ({"seed": "x"}, "line 1: each picture needs file, subject and prompt; seed is a whole number"),
    ({"prompt": " "}, "line 1: an empty prompt or subject"),
])  # fmt: skip
def test_a_bad_row_says_where_it_is(tmp_path, entry, message):
    row(tmp_path, **entry)
    with pytest.raises(FormatError, match=message):
        found(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"file": "x.png"}'])
def test_a_list_that_is_none_is_told(tmp_path, text):
    row(tmp_path)
    (tmp_path / "theirs" / "pictures.jsonl").write_text(text)
    with pytest.raises(FormatError, match=r"pictures\.jsonl"):
        found(tmp_path)


def test_a_subject_is_found_under_the_name_of_its_folder(tmp_path):
    picture(tmp_path / "theirs" / "Anna Maria" / "a sketch of Anna Maria" / "0.png")
    (one,) = found(tmp_path, [Subject("Anna_Maria")]).pictures
    assert (one.subjects, one.template, one.prompt) == (
        ("Anna_Maria",), "a sketch of <person>", "a sketch of <Anna_Maria>",
    )  # fmt: skip


def test_names_and_prompts_of_any_script_are_told_apart(tmp_path):
    picture(tmp_path / "theirs" / "王芳" / "素描" / "0.png")
    picture(tmp_path / "theirs" / "王芳" / "王芳 在 雪地" / "0.png")
    made = found(tmp_path, [Subject("王芳")], [PromptLine("<person> 素描"), PromptLine("<person>")])
    assert [one.template for one in made.pictures] == ["<person> 在 雪地", "<person> 素描"]


def test_a_subject_may_be_called_person(tmp_path):
    row(tmp_path, subject="bob+person", prompt="<bob> and <person>")
    (one,) = found(tmp_path, [Subject("bob"), Subject("person")]).pictures
    assert one.template == "<person> and <other>"


def test_an_empty_prompt_file_tells_nothing(tmp_path):
    picture(tmp_path / "theirs" / "alice" / "dancing" / "0.png")
    (tmp_path / "theirs" / "alice" / "dancing" / "prompt.txt").write_text("\n")
    assert found(tmp_path).pictures[0].template == "dancing"


def test_the_run_itself_is_no_picture_of_others(tmp_path):
    picture(tmp_path / "theirs" / "alice" / "a-sketch-of-person" / "0.png")
    picture(tmp_path / "theirs" / "run" / "plots" / "people.png")
    made = find_pictures(tmp_path / "theirs", PEOPLE, LINES, tmp_path / "theirs" / "run")
    assert ([one.subjects for one in made.pictures], made.notes) == ([("alice",)], ["no pictures of bob"])


def test_a_row_that_is_cut_off_is_told_with_its_line(tmp_path):
    picture(tmp_path / "theirs" / "x.png")
    (tmp_path / "theirs" / "pictures.csv").write_text("file,subject,prompt\nx.png,alice\n")
    with pytest.raises(FormatError, match=r"pictures\.csv, line 2: each picture needs .*prompt is None"):
        found(tmp_path)


def test_a_picture_that_the_system_does_not_give_is_a_counted_row(tmp_path, monkeypatch):
    from adaface.evaluation.run import outside

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    picture(tmp_path / "theirs" / "alice" / "a-sketch-of-person" / "0.png")
    monkeypatch.setattr(outside, "sha256", refused)
    (one,) = found(tmp_path).pictures
    assert "0.png: cannot be read (Permission denied)" in one.error


def test_a_name_that_is_no_text_is_told(tmp_path):
    folder = tmp_path / "theirs" / "alice" / "a-sketch-of-person"
    folder.mkdir(parents=True)
    (folder / "\udcff.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"\\udcff\.png: this name is no text in UTF-8"):
        found(tmp_path)
