"""Rows from the stack and encoders to the page: the shipped stack, two drawn people, two steps a picture."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from adaface.cli.main import app
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError, MissingFileError
from adaface.mini.dataset import write_dataset
from adaface.mini.evidence import pictures
from adaface.mini.evidence.design import Design
from adaface.mini.evidence.page import page
from adaface.mini.evidence.run import Request, evidence
from adaface.pipelines.stack import Stack

pytestmark = pytest.mark.slow
DESIGN = Design(people=2, plain=1, seen=1, unseen=1, steps=2)


def request(data, out, **values):
    rows = values.pop("rows", {"one": "stack", "two": str(Stack.load("mini").path("encoder"))})
    given = {"design": DESIGN, "device": "cpu", **values}
    return Request(data=data, out=out, rows=rows, stack=Stack.load("mini"), **given)


class Second:
    """A recogniser that goes by the mean colour of the picture."""

    name, likeness = "colour", "the cosine"

    def embed(self, seen):
        means = [one.pixels.mean((0, 1)) / 255 for one in seen]
        return [
            np.repeat(m[None], len(s.faces), 0).astype(np.float32) for m, s in zip(means, seen, strict=True)
        ]

    def compare(self, faces, photos):
        return faces @ photos.T


@pytest.fixture(scope="module")
def done(drawn_data, tmp_path_factory, astronaut):
    out = tmp_path_factory.mktemp("evidence")
    photo = out / "astronaut.png"
    Image.fromarray(astronaut).save(photo)
    told = []
    given = request(drawn_data, out, photo=photo, seconds={"colour": Second()}, notes=("a note",))
    return evidence(given, lambda *what: told.append(what)), out, told


def test_rows_are_class_prompt_teacher_and_encoders_in_order(done):
    assert [row.name for row in done[0].rows] == ["class prompt", "teacher", "one", "two"]


def test_the_same_weights_give_the_same_figures_and_no_difference(done):
    one, two = done[0].rows[2:]
    assert one.figures == two.figures
    assert two.against.other == "one" and one.against is None
    assert {figure.value for figure in two.against.differences.values()} == {0.0}


def test_the_teacher_reads_no_words_and_the_class_prompt_knows_nobody(done):
    words, teacher, one, _ = done[0].rows
    assert not any(key.startswith(("text", "scene")) for key in teacher.figures)
    assert {"text_seen", "text_unseen", "text"} <= words.values.keys() & one.values.keys()
    assert words.against is None


def test_every_recogniser_has_its_columns(done):
    keys = [column.key for column in done[0].columns]
    assert keys[:6] == [
        f"{what}{end}" for end in ("", "_colour") for what in ("margin", "scene_margin", "copy_paste")
    ]
    assert "found" in keys and "scene_found" in keys


def test_figures_of_each_person_are_written(done):
    result, out, _ = done
    written = json.loads((out / "rows.json").read_text())
    assert written == json.loads(json.dumps(result.to_json()))
    assert len(written["rows"][3]["people"]["found"]) == 2
    assert written["design"]["people"] == 2 and written["rows"][2]["weights"].startswith("sha256:")


def test_the_page_says_whom_what_and_how(done):
    result, out, _ = done
    text = (out / "evidence.md").read_text()
    assert text == page(result)
    assert "2 people of the validation split, seed 0" in text
    for words in (
        "| two minus one |",
        "keeps of",
        "faces found",
        "- a note",
        "](grid.png)",
        "Of real pictures",
    ):
        assert words in text


def test_two_people_have_means_and_the_page_says_why_no_intervals(done):
    tables = [line for line in page(done[0]).splitlines() if line.startswith("| one")]
    assert tables and not any("[" in line for line in tables)
    assert "Too few people for intervals, which take 8" in page(done[0])
    many = replace(done[0], design=replace(DESIGN, people=8))
    assert "Means with 95 % intervals over people" in page(many) and "Too few" not in page(many)


def test_the_grid_has_a_line_of_real_pictures_and_one_for_each_row(done):
    with Image.open(done[1] / "grid.png") as grid:
        assert grid.width == 150 + 6 * (128 + 4)  # two people, three kinds
        assert grid.height > 5 * 128
    with Image.open(done[1] / "photo.png") as grid:
        assert grid.width == 150 + 9 * (128 + 4)
        assert grid.height > 5 * 128  # the photo as the words say, and the four rows


def test_the_page_says_which_words_come_to_whom(done):
    result, text = done[0], page(done[0])
    keys = [key for key in result.possible if key.startswith("word/")]
    assert keys and all(f"| {key.removeprefix('word/')} |" in text for key in keys)
    assert "| accessory comes | background comes | style comes |" in text
    words, teacher, one, _ = result.rows
    assert set(keys) <= words.values.keys() & one.values.keys() and not set(keys) & teacher.values.keys()


def test_what_is_done_is_told(done):
    assert [what for what, at, total in done[2] if at == total][:2] == ["photos by colour", "class prompt"]


def test_pictures_that_are_there_are_not_drawn_again_and_other_encoders_are(done, drawn_data, monkeypatch):
    drawn = []
    real = pictures.draw
    monkeypatch.setattr(pictures, "draw", lambda *given, **more: drawn.append(1) or real(*given, **more))
    result, out, _ = done
    again = evidence(request(drawn_data, out, rows={"one": "stack"}))
    assert drawn == [] and again.rows[2].values.keys() == {
        key for key in result.rows[2].values if not key.endswith("_colour")
    }
    for key, values in again.rows[2].values.items():
        assert np.array_equal(values, result.rows[2].values[key], equal_nan=True)
    sheet = out / "pictures" / "one.png"
    sheet.write_bytes(sheet.read_bytes()[:2000])  # cut off
    evidence(request(drawn_data, out, rows={"one": "stack"}))
    assert drawn == [1]
    evidence(request(drawn_data, out, rows={"one": "stack"}, design=Design(**{**vars(DESIGN), "seed": 1})))
    assert len(drawn) == 4, "other people, scenes and seeds: all rows are drawn anew"


def test_encoders_can_all_be_held_against_one_row(drawn_data, done):
    rows = {"two": "stack", "one": "stack", "three": "stack"}
    result = evidence(request(drawn_data, done[1], rows=rows, against="one"))
    others = {row.name: row.against and row.against.other for row in result.rows}
    assert others == {"class prompt": None, "teacher": None, "two": "one", "one": None, "three": "one"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rows": {}}, "no row is named. Give at least one: --row NAME=ENCODER"),
        ({"against": "three"}, '--against "three": no such row. Give one of one, two'),
        ({"rows": {"a b": "stack", "a-b": "stack"}}, "another row has the same letters"),
    ],
)
def test_requests_that_make_no_sense_are_told(values, words, drawn_data, tmp_path):
    with pytest.raises(ConfigError, match=words):
        evidence(request(drawn_data, tmp_path, **values))


def test_a_row_whose_encoder_is_not_there_is_named(drawn_data, tmp_path):
    with pytest.raises(MissingFileError, match=f"--row three={tmp_path}: no encoder in it"):
        evidence(request(drawn_data, tmp_path, rows={"three": str(tmp_path)}))


def test_an_encoder_for_another_text_encoder_is_noted(drawn_data, done, tmp_path):
    encoder = AdaFaceEncoder.from_pretrained(Stack.load("mini").path("encoder"))
    encoder.config = replace(encoder.config, base_text_encoder="sha256:other")
    encoder.save_pretrained(tmp_path)
    result = evidence(request(drawn_data, done[1], rows={"one": "stack", "odd": str(tmp_path)}))
    assert result.notes == ("odd: this encoder was trained for another text encoder than the stack's",)


def test_the_command_prints_the_tables_or_one_json_object(drawn_data, done):
    given = ["mini", "evidence", "--data", str(drawn_data), "--row", "one=stack", "-o", str(done[1])]
    given += [
        "--people",
        "2",
        "--plain",
        "1",
        "--seen",
        "1",
        "--unseen",
        "1",
        "--steps",
        "2",
        "--device",
        "cpu",
    ]
    told = CliRunner().invoke(app, given)
    assert told.exit_code == 0, told.output
    assert "| class prompt |" in told.stdout and "evidence.md" in told.stderr
    assert json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout)["rows"][2]["name"] == "one"


PLAN = """
config: smoke
settings:
  batch: 2
  validation: 0
  tensorboard: false
  samples: {people: 0}
  loop: {steps: 2, save_steps: 0, schedule: {warmup_steps: 1}}
runs:
  all: {}
  no noise: {id_noise_share: 0.0}
"""


def test_ablations_train_each_run_once_and_hold_it_against_the_whole(drawn_data, tmp_path):
    write_dataset(drawn_data, tmp_path / "faces", Stack.load("mini"))
    (tmp_path / "plan.yaml").write_text(PLAN)
    out = tmp_path / "out"
    given = ["mini", "ablate", "--data", str(drawn_data), "--faces", str(tmp_path / "faces"), "-o", str(out)]
    given += ["--start", "stack", "--config", str(tmp_path / "plan.yaml"), "--people", "2", "--plain", "1"]
    given += ["--seen", "1", "--unseen", "1", "--steps", "2", "--device", "cpu"]
    told = CliRunner().invoke(app, [*given, "loop.steps=3"])
    assert told.exit_code == 0, told.output
    assert "2 runs from stack: 3 steps of 2 samples each" in told.stderr
    rows = json.loads((out / "rows.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["class prompt", "teacher", "start", "all", "no noise"]
    assert [row["against"] and row["against"]["row"] for row in rows] == [None, None, "all", None, "all"]
    assert len({row["weights"] for row in rows}) == 5, "all have weights of their own"
    assert "no noise: id_noise_share=0.0" in (out / "evidence.md").read_text()
    written = [path.stat().st_mtime_ns for path in sorted(out.rglob("runs/*/*"))]
    again = CliRunner().invoke(app, [*given, "loop.steps=3"])
    assert again.exit_code == 0 and written
    assert written == [path.stat().st_mtime_ns for path in sorted(out.rglob("runs/*/*"))], (
        "nothing is trained"
    )
