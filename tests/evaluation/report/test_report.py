"""The page of a run: all in one file, the bad beside the good, nothing of the user's taken for HTML."""

import base64
import io
import json
import re
import sys
from dataclasses import asdict, replace

import pytest
from PIL import Image

from adaface.errors import MissingExtra
from adaface.evaluation import report
from adaface.evaluation.folder import open_run
from adaface.evaluation.records import Column
from adaface.evaluation.report.page import grid, headline, render
from adaface.evaluation.report.thumbnails import thumbnail
from adaface.evaluation.report.wording import interval, number, percent, percents, signed
from adaface.evaluation.summary import against_others, summarize
from tiny_evaluation import COLUMNS, photos, picture, some_pictures, write_run

ONE = "a photo of <person>"
SWEEP = {"id_scale": [[0.5, "id_scale=0.5"], [1.0, ""]]}


def page(folder, pictures, anchors=(), **facts):
    return report.write(write_run(folder, pictures, anchors, **facts)).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    pictures = some_pictures(4) + some_pictures(4, shift=0.1, variant="id_scale=0.5")
    text = page(
        folder, pictures, photos(4), sweep=SWEEP, settings={"id_scale": 1.0}, provenance={"clip": "cdcd"},
        notes=["a note of the run"], adaface="0.1.0", protocol="short",
        stack={"name": "tiny", "parts": {"base": {"sha256": "ef" * 32, "licence": "MIT"}}},
    )  # fmt: skip
    return folder, text


def test_a_run_gets_a_page_figures_and_plots(full):
    folder, _ = full
    figures = json.loads((folder / "summary.json").read_text())
    assert figures["overall"]["similarity"]["people"] == 4
    names = {path.name for path in (folder / "plots").iterdir()}
    assert names == {
        "likeness-similarity.png",
        "likeness-similarity_dlib.png",
        "prompts.png",
        "curve-id_scale.png",
    }


def test_the_page_needs_no_other_file(full):
    _, text = full
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources
    assert [one[:60] for one in sources if not one.startswith(("data:image/", "#"))] == []
    assert "url(" not in text
    assert "<script" not in text


def test_every_link_inside_the_page_leads_somewhere(full):
    _, text = full
    assert set(re.findall(r'href="#([^"]*)"', text)) <= set(re.findall(r'id="([^"]*)"', text))


@pytest.mark.parametrize(
    "words",
    [
        "a note of the run", "What this does not say", "no human judged anything", "MIT", "efefefefefefefef",
        "cdcd", "Pictures that nobody chose", "ab" * 8, "Worst and best", "0.1.0", "★",
    ],
)  # fmt: skip
def test_the_page_tells(full, words):
    _, text = full
    assert words in text


def test_every_score_is_defined_on_the_page(full):
    _, text = full
    assert all(column.definition in text for column in COLUMNS)


def test_every_mean_of_the_tables_has_its_interval(full):
    folder, text = full
    for row in json.loads((folder / "summary.json").read_text())["overall"].values():
        assert number(row["mean"]) in text
        assert interval(row) in text


def test_worst_pictures_come_first_and_are_as_many_as_the_best(full):
    _, text = full
    ends = text[text.index('id="ends"') : text.index('id="tables"')]
    worst, best = (ends.index(f"<b>{word}</b>") for word in ("Worst", "Best"))
    assert worst < best
    first = ends[: ends.index("<h3>", ends.index("<h3>") + 4)]
    assert first[worst:best].count("<figure>") == first[best:].count("<figure>") > 0


def test_names_and_prompts_are_text_never_markup(tmp_path):
    name = "<script>x</script>"
    text = page(tmp_path, [picture(name, 'a "b" <i>', 0, {"similarity": 0.1})], notes=["<b>note"])
    assert "<script>" not in text
    assert "<b>note" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"subjects": [{"name": "ada", "synthetic": True}]}, "Synthetic people."),
        (
            {"subjects": [{"name": "ada", "given": [{"path": "0.png", "sha256": ""}], "apart": False}]},
            "Given photos score.",
        ),
        ({"external": True}, "Made elsewhere."),
    ],
)
def test_what_makes_figures_look_better_stands_at_the_top(tmp_path, facts, words):
    text = page(tmp_path, [picture("ada", ONE, 0, {"similarity": 0.1})], **facts)
    assert text.index(words) < text.index('id="short"')


def test_without_a_second_opinion_the_first_recogniser_says_how_like_it_is(tmp_path):
    pictures = [picture("ada", ONE, 0, {"similarity": 0.3, "similarity_dlib": None})]
    text = page(tmp_path, pictures, subjects=[{"name": "ada", "apart": False}])
    assert "The similarity is 0.300" in text and "Not measured.</li>" in text
    assert "Given photos score." not in text


def test_missing_faces_are_told_at_the_top_and_shown(tmp_path):
    pictures = [picture("ada", ONE, seed, {"similarity": 0.0, "face_found": seed}) for seed in (0, 1)]
    text = page(tmp_path, pictures)
    assert text.index("1 of 2 pictures show no face.") < text.index('id="short"')
    assert 'id="faceless"' in text


def test_pictures_that_could_not_be_scored_are_listed_with_the_reason(tmp_path):
    broken = replace(picture("ada", ONE, 0, {}), error="cut off & lost")
    text = page(tmp_path, [broken, picture("ada", ONE, 1, {"similarity": 0.1})])
    assert "cut off &amp; lost" in text


def test_pictures_that_are_gone_leave_a_place_on_the_page(tmp_path):
    folder = write_run(tmp_path, some_pictures(1))
    for path in folder.rglob("*.png"):
        path.unlink()
    assert "no picture" in report.write(folder).read_text()


def test_an_empty_run_has_a_page(tmp_path):
    assert "Not measured" in page(tmp_path, [])


def test_the_same_run_gives_the_same_bytes(full):
    folder, text = full
    before = (folder / "plots" / "prompts.png").read_bytes()
    assert report.write(folder).read_text(encoding="utf-8") == text
    assert (folder / "plots" / "prompts.png").read_bytes() == before


def test_a_failed_page_leaves_the_old_one(full, monkeypatch):
    folder, text = full
    monkeypatch.setattr("adaface.evaluation.report.writing.render", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.write(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == text


def test_gates_are_a_table_of_the_page(tmp_path):
    gates = [
        {"name": "faces found", "value": 0.95, "low": 0.9, "high": 1.0, "aim": 0.9, "note": "of 128"},
        {"name": "margin", "value": 0.3, "low": 0.2, "high": 0.4, "aim": 0.5, "note": ""},
        {"name": "no aim", "value": 0.3, "low": 0.2, "high": 0.4, "aim": None, "note": ""},
    ]
    text = page(tmp_path, some_pictures(), gates=gates)
    table = text[text.index("<h3>Gates</h3>") :]
    assert table.index("reached") < table.index("missed")


def test_a_small_picture_stays_as_it_is_and_a_large_one_shrinks(tmp_path):
    sizes = []
    for side in (64, 512):
        path = tmp_path / f"{side}.png"
        Image.new("RGB", (side, side // 2)).save(path)
        content = base64.b64decode(thumbnail(path).split(",")[1])
        sizes.append(Image.open(io.BytesIO(content)).size)
    assert sizes == [(64, 32), (192, 96)]
    assert thumbnail(tmp_path / "none.png") is None


def test_the_grid_shows_the_first_seed_of_each_prompt():
    table = grid([picture("ada", ONE, 1, {}), picture("ada", ONE, 0, {})])
    assert table["cells"][("ada",), ONE].seed == 0


def test_marks_of_a_headline_lie_in_their_order_on_the_line(tmp_path):
    run = open_run(write_run(tmp_path, some_pictures(3), photos(3)))
    marks = headline(summarize(run), COLUMNS[1])["marks"]
    assert 0 <= marks["other"]["mean"] < marks["row"]["mean"] < marks["same"]["mean"] <= 100


def test_pictures_of_two_people_stand_under_both_names(tmp_path):
    pair = replace(picture("ada", ONE, 0, {"similarity": 0.1}), subjects=("ada", "ben"))
    text = page(tmp_path, [pair])
    assert "ada + ben" in text
    assert "count for the first one" in text


def test_of_two_people_it_is_told_at_the_top_how_many_are_there(tmp_path):
    both = Column("assignment", "Everybody has their own face", "", chance=0.75)
    scores = {"face_found": 0.5, "assignment": 0.25}
    pair = replace(picture("ada", ONE, 0, scores), subjects=("ada", "ben"))
    text = page(tmp_path, [pair], columns=[asdict(COLUMNS[0]), asdict(both)])
    assert "Of two people asked for, 50\u00a0% are there, and 25\u00a0%" in text


def test_a_run_without_faces_has_a_page_of_its_other_scores(tmp_path):
    rows = [picture("rex", ONE, seed, {"clip_t": 0.2 + seed / 10}) for seed in (0, 1)]
    text = page(tmp_path, rows, columns=[asdict(COLUMNS[3])])
    assert "<b>Is it the person?</b> Not measured." in text
    assert "0.250" in text


def test_numbers_read_well():
    assert number(None) == "-"
    assert number(-0.1234) == "−0.123"
    assert number(-0.0001) == "0.000"
    assert [signed(value) for value in (0.1, -0.1, 1e-5, -1e-5)] == ["+0.100", "−0.100", "0.000", "0.000"]
    assert percent(0.456) == "46\u00a0%"
    assert interval({"low": 0.1, "high": 0.2}) == "[0.100, 0.200]"
    assert interval({"low": 1.0, "high": 1.0}) == "(all alike)"
    assert interval({"low": None, "high": None}) == ""
    assert percents({"low": -0.1, "high": 0.2}) == "[−10, 20]"
    assert percents({"low": 1.0, "high": 1.0}) == "(all alike)"
    assert percents(None) == ""


def test_pictures_against_others_photos_are_a_similarity_less_its_margin():
    scored = picture("ada", ONE, 0, {"similarity": 0.5, "margin": 0.2})
    (other,) = against_others([scored], "similarity")
    assert other.scores["similarity"] == pytest.approx(0.3)


def test_a_missing_extra_names_the_pip_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"jinja2 is not installed. Run: pip install 'adaface\[eval\]'"):
        render("run.html", {})
