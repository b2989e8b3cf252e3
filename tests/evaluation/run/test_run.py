"""Runs on the tiny stack with a made-up score: what is drawn and scored, and what a second start does."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from adaface.errors import ConfigError, FormatError, PromptError
from adaface.evaluation.folder import ANCHORS, MANIFEST, read_pictures
from adaface.evaluation.run import run as module
from adaface.evaluation.run.plan import Plan
from adaface.evaluation.run.prompts import PromptLine
from adaface.evaluation.run.run import evaluate
from adaface.evaluation.run.synthetic import DRAWN
from adaface.files import held, sha256
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack
from tiny_run import LINES, Brightness, facts, manifest


def test_a_run_draws_and_scores_every_person_prompt_and_seed(scorer, request_for):
    done = evaluate(request_for(seed=5))
    found = manifest(done.folder)
    assert (done.drawn, done.scored, scorer.seen) == (8, 8, 8)
    assert [(p.subjects[0], p.template, p.seed) for p in found] == [
        (name, line.text, seed) for name in ("alice", "bob") for line in LINES for seed in (5, 6)
    ]
    assert all(p.scores["brightness"] > 0 and (done.folder / p.file).is_file() for p in found)
    assert all(p.settings["steps"] == 1 for p in found)


def test_run_json_says_all_that_was_asked_for(scorer, request_for, tiny_stack):
    told = facts(evaluate(request_for()).folder)
    assert (told["state"], told["seeds"], told["external"], told["synthetic"]) == (
        "done",
        [0, 1],
        False,
        False,
    )
    assert told["stack"]["parts"]["encoder"]["sha256"] == Stack.load(tiny_stack).part("encoder").sha256
    assert [one["name"] for one in told["subjects"]] == ["alice", "bob"]
    assert told["columns"][0]["name"] == "brightness"
    assert told["provenance"] == {"bulb": "bulb 1"}
    assert "the bulb is on" in told["notes"]
    assert told["times"]["drawn"] == told["times"]["scored"] == 8


def test_whole_groups_of_seeds_are_scored_together(scorer, request_for):
    evaluate(request_for())
    groups = [group for part in scorer.groups for group in part]
    assert len(groups) == len(set(groups)) == 4


def test_the_same_request_again_does_nothing_twice(scorer, request_for):
    evaluate(request_for())
    before = manifest(request_for().folder)
    done = evaluate(request_for())
    assert (done.drawn, done.scored, scorer.seen) == (0, 0, 8)
    assert manifest(done.folder) == before


def stopped_after(monkeypatch, request, batches):
    """A run that is stopped by Ctrl-C behind so many batches; how many pictures are in its manifest."""
    generate, left = Personalizer.generate, [batches]

    def interrupted(self, *args, on_batch, **more):
        def tell(batch):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            on_batch(batch)

        return generate(self, *args, on_batch=tell, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Personalizer, "generate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(request)
    return len({picture.key for picture in manifest(request.folder)})


def test_a_run_that_was_stopped_goes_on_and_ends_like_an_unbroken_one(
    scorer, request_for, monkeypatch, tmp_path
):
    whole = manifest(evaluate(request_for(folder=tmp_path / "whole")).folder)
    request = request_for(settings={"steps": 1, "batch_size": 3})
    kept = stopped_after(monkeypatch, request, 1)
    assert kept == 3
    assert facts(request.folder)["state"] == "begun"
    done = evaluate(request)
    assert done.drawn == 8 - kept
    assert [p.key for p in manifest(done.folder)] == [p.key for p in whole]
    for one, other in zip(manifest(done.folder), whole, strict=True):
        pixels = [
            np.asarray(Image.open(f / p.file), int)
            for f, p in ((done.folder, one), (tmp_path / "whole", other))
        ]
        assert np.abs(pixels[0] - pixels[1]).max() <= 2  # batches of other sizes sum in another order


def test_a_half_written_line_is_dropped_counted_and_its_picture_made_again(scorer, request_for):
    folder = evaluate(request_for()).folder
    lines = (folder / MANIFEST).read_text().splitlines(keepends=True)
    (folder / MANIFEST).write_text("".join(lines[:-1]) + lines[-1][:40])
    done = evaluate(request_for())
    assert (done.drawn, len(manifest(folder))) == (1, 8)
    assert any("a half-written line of the manifest was dropped" in note for note in done.facts["notes"])


def test_a_damaged_line_in_the_middle_is_told(scorer, request_for):
    folder = evaluate(request_for()).folder
    (folder / MANIFEST).write_text("{}\n" + (folder / MANIFEST).read_text())
    with pytest.raises(FormatError, match="line 1 is damaged"):
        evaluate(request_for())


def test_pictures_that_are_gone_or_changed_are_drawn_again_and_counted(scorer, request_for):
    folder = evaluate(request_for()).folder
    first, second, *_ = manifest(folder)
    (folder / first.file).unlink()
    Image.new("RGB", (64, 64)).save(folder / second.file)
    done = evaluate(request_for())
    assert done.drawn == 2
    assert "2 pictures were gone or changed, and were drawn again" in done.facts["notes"]
    assert all(sha256(folder / p.file) == p.sha256 for p in manifest(folder))


def test_other_scorers_score_anew_and_draw_nothing(scorer, request_for, monkeypatch):
    evaluate(request_for())
    other = Brightness("bulb 2")
    monkeypatch.setattr(module, "scorers", lambda *_, **__: [other])
    done = evaluate(request_for())
    assert (done.drawn, done.scored, other.seen) == (0, 8, 8)
    assert facts(done.folder)["provenance"] == {"bulb": "bulb 2"}


def test_other_settings_do_not_go_on_with_a_run(scorer, request_for):
    folder = evaluate(request_for()).folder
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    with pytest.raises(
        ConfigError, match=r"begun with other settings \(seeds was \[0, 1\], now \[0, 1, 2\]\)"
    ):
        evaluate(request_for(num_images=3))
    with pytest.raises(ConfigError, match="begun with other settings"):
        evaluate(request_for(settings={"steps": 2}))
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before


def test_a_run_that_failed_before_its_first_picture_may_be_asked_for_differently(scorer, request_for):
    too_long = PromptLine("a photo of " + "the red meadow at night " * 30 + "<person>")
    with pytest.raises(PromptError, match="no room for the 16 rows of <alice>"):
        evaluate(request_for(prompts=[too_long]))
    assert evaluate(request_for(num_images=1)).drawn == 4


def test_another_batch_size_goes_on_with_a_run(scorer, request_for):
    evaluate(request_for())
    assert evaluate(request_for(settings={"steps": 1, "batch_size": 2})).drawn == 0


def test_a_run_of_another_stack_is_told_by_its_parts(scorer, request_for, tmp_path):
    from tiny import write_tiny_stack

    evaluate(request_for())
    other = Stack.load(write_tiny_stack(tmp_path / "other", seed=1))
    with pytest.raises(
        ConfigError, match='a run of the stack "tiny" with another base, encoder, id_prompter than'
    ):
        evaluate(request_for(stack=other))


def test_a_folder_with_other_things_is_left_alone(scorer, request_for, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"not empty \(mine\.txt\), and no run of adaface evaluate"):
        evaluate(request_for())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_a_request_that_fails_leaves_no_folder(scorer, request_for, tmp_path):
    with pytest.raises(ConfigError, match="need two people"):
        evaluate(
            request_for(
                prompts=[PromptLine("<person> and <other>")],
                subjects=[tmp_path / "people" / "bob.safetensors"],
            )
        )
    assert not (tmp_path / "run").exists()


def test_a_second_command_at_the_same_folder_is_sent_away(scorer, request_for):
    folder = request_for().folder
    folder.mkdir()
    with held(folder), pytest.raises(ConfigError, match="another adaface evaluate is at work there"):
        evaluate(request_for())


def test_a_sweep_is_one_run_with_several_variants(scorer, request_for):
    done = evaluate(request_for(sweeps=["id_scale=0.5,1"], prompts=LINES[:1], num_images=1))
    assert done.facts["variants"] == ["", "id_scale=0.5"]
    assert done.facts["sweep"] == {"id_scale": [[0.5, "id_scale=0.5"], [1.0, ""]]}
    own, weak = ([p for p in manifest(done.folder) if p.variant == v] for v in ("", "id_scale=0.5"))
    assert {p.settings["id_scale"] for p in weak} == {0.5}
    assert [p.sha256 for p in own] != [p.sha256 for p in weak]


def test_two_people_stand_in_one_picture(scorer, request_for):
    done = evaluate(request_for(prompts=[PromptLine("<person> and <other>", "pair")], num_images=1))
    assert [(p.subjects, p.prompt) for p in manifest(done.folder)] == [
        (("alice", "bob"), "<alice> and <bob>"), (("bob", "alice"), "<bob> and <alice>"),
    ]  # fmt: skip


def test_photos_that_changed_since_are_told(scorer, request_for, tmp_path, astronaut):
    folder = tmp_path / "photos" / "eileen"
    folder.mkdir(parents=True)
    Image.fromarray(astronaut).save(folder / "a.png")
    Image.fromarray(astronaut).rotate(8).resize((400, 400)).save(folder / "b.png")
    request = request_for(subjects=[folder], prompts=LINES[:1], num_images=1)
    done = evaluate(request)
    (row,) = done.facts["subjects"]
    assert (row["apart"], len(row["given"]), len(row["scored"])) == (True, 1, 1)
    assert len(read_pictures(done.folder / ANCHORS)[0]) == 1  # the given photo, scored as if it were drawn
    Image.new("RGB", (9, 9)).save(folder / "a.png")
    with pytest.raises(ConfigError, match=r"a\.png: gone or changed since the run was begun"):
        evaluate(request)


def test_things_can_only_be_scored(scorer, request_for, tmp_path):
    from adaface.evaluation.run.about import About

    (tmp_path / "bag").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "bag" / "a.png")
    with pytest.raises(ConfigError, match="bag: no person, and only people can be drawn"):
        evaluate(request_for(subjects=[tmp_path / "bag"], about={"bag": About("bag", "object")}))


def test_the_plan_is_what_the_manifest_holds(scorer, request_for):
    done = evaluate(request_for(num_images=1))
    request = request_for(num_images=1)
    subjects = [SimpleNamespace(name=name) for name in ("alice", "bob")]
    plan = Plan(request.variants()[0], dict.fromkeys(("alice", "bob"), LINES), subjects, request.seeds)
    assert [p.key for unit in plan.units() for p in unit.pictures] == [p.key for p in manifest(done.folder)]


def test_the_identity_decides_the_picture(scorer, request_for):
    found = manifest(evaluate(request_for(num_images=1, prompts=LINES[:1])).folder)
    assert found[0].sha256 != found[1].sha256


def test_a_run_that_was_stopped_while_synthetic_people_were_drawn_goes_on(
    scorer, request_for, monkeypatch, astronaut
):
    def stopped(teacher, count, seed, folder, tell):
        (folder / "synthetic01").mkdir(parents=True)
        raise KeyboardInterrupt
        yield

    def drawn(teacher, count, seed, folder, tell):
        photo = folder / "synthetic01" / "0.png"
        Image.fromarray(astronaut).save(photo)
        yield "synthetic01", [photo]
        yield "synthetic02", []

    request = request_for(subjects=[], people=2, num_images=1, prompts=LINES[:1])
    monkeypatch.setattr(module, "draw_people", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate(request)
    monkeypatch.setattr(module, "draw_people", drawn)
    told = evaluate(request).facts
    assert [(one["name"], one["synthetic"]) for one in told["subjects"]] == [("synthetic01", True)]
    assert told["subjects"][0]["given"][0]["path"] == "people/synthetic01/0.png"
    assert told["left_out"] == {"synthetic02": "none of the teacher's pictures shows a face"}


def test_synthetic_people_of_another_request_are_drawn_anew_and_models_are_opened_once(
    scorer, request_for, monkeypatch, personalizer, astronaut
):
    opened, notes = [], []
    monkeypatch.setattr(Personalizer, "from_pretrained", lambda *_, **__: opened.append(1) or personalizer)

    def drawn(teacher, count, seed, folder, tell):
        notes.append((folder / DRAWN).exists())
        photo = folder / "synthetic01" / "0.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(astronaut).save(photo)
        (folder / DRAWN).write_text("{}")
        yield "synthetic01", [photo]
        if len(notes) < 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "draw_people", drawn)
    for seed in (0, 0, 1):
        request = request_for(subjects=[], people=1, num_images=1, prompts=LINES[:1], seed=seed)
        with nullcontext() if seed else pytest.raises(KeyboardInterrupt):
            evaluate(request)
    assert notes == [False, True, False]
    assert len(opened) == 3, "once a start, for the teacher and for the pictures"
    evaluate(request)
    assert len(opened) == 3, "nothing is left to draw"


def test_pictures_of_others_are_scored_where_they_lie(scorer, request_for, tmp_path):
    theirs = tmp_path / "theirs" / "alice" / "a-sketch-of-person"
    theirs.mkdir(parents=True)
    Image.new("RGB", (9, 9), "white").save(theirs / "0.png")
    (theirs / "1.png").write_text("no picture")
    before = sorted((tmp_path / "theirs").rglob("*"))
    done = evaluate(request_for(images=tmp_path / "theirs"))
    whole, broken = manifest(done.folder)
    assert (done.drawn, done.scored, scorer.seen) == (0, 1, 1)
    assert (whole.scores, whole.file) == ({"brightness": 1.0}, "../theirs/alice/a-sketch-of-person/0.png")
    assert (broken.scores, "1.png: not a picture" in broken.error) == ({}, True)
    assert done.facts["external"]
    assert "no pictures of bob" in done.facts["notes"]
    assert sorted((tmp_path / "theirs").rglob("*")) == before
    Image.new("RGB", (9, 9), "black").save(theirs / "0.png")
    assert evaluate(request_for(images=tmp_path / "theirs")).scored == 1
    assert manifest(done.folder)[0].scores == {"brightness": 0.0}


def test_pictures_of_others_need_people(scorer, request_for, tmp_path):
    with pytest.raises(ConfigError, match="--images needs the people who are in the pictures"):
        evaluate(request_for(subjects=[], images=tmp_path))
