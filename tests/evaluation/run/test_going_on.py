"""A run that is begun again: what changed meanwhile, and what a start left that was stopped."""

import json
import sys

import pytest
from PIL import Image

from adaface.errors import ConfigError, FormatError, MissingExtra
from adaface.evaluation.folder import RUN_JSON
from adaface.evaluation.run import run as module, work
from adaface.evaluation.run.request import Extra
from adaface.evaluation.run.run import evaluate
from adaface.files import sha256
from adaface.identity.files import Identity
from adaface.pipelines.stack import Stack
from tiny_run import LINES, Brightness, facts, manifest


def test_identity_files_that_changed_since_are_told(scorer, request_for, people, person):
    evaluate(request_for())
    Identity("bob", person.subject_embeds + 5, person.id_embedding).save(people / "bob.safetensors")
    with pytest.raises(ConfigError, match=r"bob\.safetensors: gone or changed since the run was begun"):
        evaluate(request_for())


def test_scores_of_other_scorers_do_not_stay_when_a_start_is_stopped(scorer, request_for, monkeypatch):
    class Stopped(Brightness):
        def __call__(self, cases):
            raise KeyboardInterrupt

    evaluate(request_for())
    monkeypatch.setattr(module, "scorers", lambda *_, **__: [Stopped("bulb 2")])
    with pytest.raises(KeyboardInterrupt):
        evaluate(request_for())
    other = Brightness("bulb 2")
    monkeypatch.setattr(module, "scorers", lambda *_, **__: [other])
    assert (evaluate(request_for()).scored, other.seen) == (8, 8)


def test_new_prompts_of_others_change_the_scores_of_all(scorer, request_for, tmp_path):
    theirs = tmp_path / "theirs" / "alice"
    for done, name in enumerate(("a-sketch-of-person", "dancing"), 1):
        (theirs / name).mkdir(parents=True)
        Image.new("RGB", (9, 9), "white").save(theirs / name / "0.png")
        assert evaluate(request_for(images=tmp_path / "theirs")).scored == done
    (theirs.parent / "bob" / "dancing").mkdir(parents=True)
    Image.new("RGB", (9, 9), "white").save(theirs.parent / "bob" / "dancing" / "0.png")
    assert "no pictures of bob" not in evaluate(request_for(images=tmp_path / "theirs")).facts["notes"]


def test_pictures_of_others_that_are_gone_are_rows_and_nobody_draws_them(scorer, request_for, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "pictures.csv").write_text("file,subject,prompt\nx.png,alice,<alice>\n")
    done = evaluate(request_for(images=tmp_path / "theirs"))
    assert "x.png: no such file" in manifest(done.folder)[0].error
    assert not any("drawn again" in note for note in done.facts["notes"])


def test_photos_that_are_scored_like_pictures_are_so_once(
    scorer, request_for, tmp_path, astronaut, monkeypatch
):
    folder = tmp_path / "photos" / "eileen"
    folder.mkdir(parents=True)
    Image.fromarray(astronaut).save(folder / "a.png")
    Image.fromarray(astronaut).rotate(8).resize((400, 400)).save(folder / "b.png")
    request = request_for(subjects=[folder], prompts=LINES[:1], num_images=1)
    before = evaluate(request)
    assert (before.scored, scorer.seen) == (1, 2)
    assert evaluate(request).facts["times"]["photos_s"] >= before.facts["times"]["photos_s"] > 0
    assert scorer.seen == 2
    other = Brightness("bulb 2")
    monkeypatch.setattr(module, "scorers", lambda *_, **__: [other])
    evaluate(request)
    assert other.seen == 2


def test_a_further_entry_is_made_again_where_what_decides_it_has_changed(scorer, request_for):
    made = []

    def entry(seed):
        return {"gates": Extra({"seed": seed}, lambda: made.append(seed) or [seed])}

    for seed in (0, 0, 1, 1):
        assert evaluate(request_for(more=entry(seed))).facts["gates"] == [seed]
    assert made == [0, 1]


def test_a_start_looks_at_each_picture_once_to_see_whether_it_is_there(scorer, request_for, monkeypatch):
    folder, hashed = evaluate(request_for()).folder, []
    (folder / manifest(folder)[0].file).unlink()
    monkeypatch.setattr(work, "sha256", lambda path: hashed.append(path) or sha256(path))
    assert evaluate(request_for()).drawn == 1
    assert len(hashed) == 7 + 1, "those that are there, and the new one"


def test_a_stack_without_a_teacher_asks_for_photos(scorer, request_for, tiny_stack, tmp_path):
    told = json.loads((tiny_stack / "stack.json").read_text())
    del told["roles"]["teacher"]
    for entry in tiny_stack.iterdir():
        if entry.name != "stack.json":
            (tmp_path / "bare").mkdir(exist_ok=True)
            (tmp_path / "bare" / entry.name).symlink_to(entry)
    (tmp_path / "bare" / "stack.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match="no ID teacher, which draws people who do not exist. Name people"):
        evaluate(request_for(stack=Stack.load(tmp_path / "bare"), subjects=[], people=2))


def test_what_says_how_to_draw_is_told_where_others_pictures_are_there(scorer, request_for, tmp_path):
    with pytest.raises(
        ConfigError, match="sweep, steps, num_images: of pictures that are drawn, and --images"
    ):
        evaluate(request_for(images=tmp_path, sweeps=["id_scale=1,2"], settings={"steps": 1}, num_images=1))


def test_a_package_of_the_report_is_asked_for_before_anything_is_drawn(scorer, request_for, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"jinja2 is not installed. Run: pip install 'adaface\[eval\]'"):
        evaluate(request_for())
    assert not request_for().folder.exists()


@pytest.mark.parametrize("damage", [{"notes": None}, {"times": [1]}, {"subjects": "x"}, {"stack": None}])
def test_a_damaged_entry_of_run_json_is_told(scorer, request_for, damage):
    folder = evaluate(request_for()).folder
    (folder / RUN_JSON).write_text(json.dumps(facts(folder) | damage))
    with pytest.raises(FormatError, match=rf"run\.json: damaged: {next(iter(damage))} is "):
        evaluate(request_for())
