"""`adaface evaluate` from end to end on the tiny stack, whose pictures are noise."""

import json
import re

import pytest
from PIL import Image

from adaface.face.recognize import SFACE_FILE, wheel_model
from adaface.identity.files import Identity
from tiny_cli import error, run

SCORED = ("--second", "none", "-p", "a photo of <person>")
QUICK = ("--steps", 1, "-n", 1, *SCORED)


@pytest.fixture
def people(here, person):
    """Identity files of alice and bob, side by side."""
    (here / "people").mkdir()
    for shift, name in enumerate(("alice", "bob")):
        file = here / "people" / f"{name}.safetensors"
        Identity(name, person.subject_embeds + shift, person.id_embedding, {"recognizer": "sface"}).save(file)
    return "people"


def told(*arguments):
    return json.loads(run("evaluate", *arguments, "--json").stdout)


def test_one_command_draws_scores_and_reports(here, people):
    result = told(people, "-o", "run", *QUICK)
    assert (result["drawn"], result["scored"], result["subjects"]) == (2, 2, ["alice", "bob"])
    assert result["summary"]["overall"]["face_found"]["mean"] == 0  # noise shows nobody
    assert result["pictures_per_second"]["drawn"] > 0
    for name in ("run.json", "manifest.jsonl", "summary.json", "report.html"):
        assert (here / "run" / name).is_file()
    assert "<html" in (here / "run" / "report.html").read_text().lower()
    assert told(people, "-o", "run", *QUICK)["drawn"] == 0


def test_people_read_a_table_and_where_the_report_lies(people):
    shown = run("evaluate", people, "-o", "run", *QUICK)
    assert "Faces found" in shown.stdout
    pattern = r"2 pictures \(2 drawn now, 2 scored now; [\d.]+ a second drawn; [\d.]+ a second scored\)"
    assert re.search(pattern, shown.stdout)
    assert "Report: run/report.html" in shown.stdout


def test_a_sweep_may_name_several_settings_behind_one_flag(people):
    result = told("people/alice.safetensors", "-o", "run", *QUICK, "--sweep", "id_scale=0.5", "guidance=1")
    assert list(result["summary"]["variants"]) == ["", "id_scale=0.5", "guidance_scale=1"]


def test_pictures_that_somebody_else_made_are_scored(here, people):
    (here / "theirs" / "alice" / "a-photo-of-person").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(here / "theirs" / "alice" / "a-photo-of-person" / "0.png")
    (here / "theirs" / "alice" / "a-photo-of-person" / "1.png").write_bytes(b"")
    result = told(people, "--images", "theirs", "-o", "run", *SCORED)
    assert (result["drawn"], result["scored"]) == (0, 1)
    assert result["summary"]["counts"]["unscored"] == 1


def test_runs_are_put_side_by_side(here, people):
    told(people, "-o", "one", *QUICK)
    told(people, "-o", "other", *QUICK, "--id-scale", 0.5)
    result = told("--compare", "one", "other", "-o", "both")
    assert (here / result["report"]).is_file()
    shown = run("evaluate", "--compare", "one", "other").stdout
    assert "Comparison: out/comparison/" in shown
    assert "Faces found" in shown


@pytest.fixture
def measured(here, monkeypatch):
    """Arguments of the measurements of gates, which take no time; face packs in `packs`, without faces."""
    from adaface.mini import measuring

    (here / "packs").mkdir()
    for name in ("lfw_64", "celeba_wild_64"):
        (here / "packs" / f"{name}.npz").write_text(name)
    calls = []
    monkeypatch.setattr(measuring, "gates_of", lambda *_, **given: calls.append(given) or [gate()])
    return calls


def gate():
    from adaface.mini.gates import Gate

    return Gate(name="teacher: faces found", value=0.97, low=0.9, high=1.0, aim=0.9, note="of 64")


GATES = ("--protocol", "mini-gates", "--data", "packs")


def test_the_gates_of_the_mini_stack_stand_in_the_run(here, people, measured):
    arguments = ("evaluate", people, "-o", "run", *QUICK, *GATES)
    assert "teacher: faces found: 0.970 [0.900, 1.000], aim 0.9: reached (of 64)" in run(*arguments).stdout
    (row,) = json.loads((here / "run" / "run.json").read_text())["gates"]
    assert (row["name"], row["passed"]) == (gate().name, True)
    assert gate().name in (here / "run" / "report.html").read_text()
    run(*arguments)
    assert len(measured) == 1
    (here / "packs" / "lfw_64.npz").write_text("other people")
    run(*arguments)
    assert len(measured) == 2, "of other people they are measured again"


def test_gates_have_the_seed_and_a_second_recogniser_that_is_a_file(here, people, measured):
    pytest.importorskip("dlib")
    told(people, "-o", "dlib", *QUICK, *GATES, "--second", "dlib", "--seed", 7)
    assert (measured[0]["seed"], measured[0]["second"]) == (7, None), "dlib is no network of crops"
    (here / "other.onnx").write_bytes(wheel_model(SFACE_FILE).read_bytes() + b"\x32\x01x")  # a doc string
    (here / "other.json").write_text('{"name": "other-net", "mean": 0, "std": 1}')
    result = told(people, "-o", "onnx", *QUICK, *GATES, "--second", "other.onnx")
    assert str(measured[1]["second"]) == "other.onnx"
    assert result["gates"][0]["name"] == gate().name


def test_stopping_says_that_the_same_command_goes_on(people, monkeypatch):
    from adaface.evaluation.run import run as module

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "work_through", stop)
    result = run("evaluate", people, "-o", "run", *QUICK, "--json", code=130)
    assert "the same command goes on" in result.stderr
    assert json.loads(result.stdout)["error"]["type"] == "Stopped"
    assert "the same command goes on" in json.loads(result.stdout)["error"]["message"]


@pytest.mark.usefixtures("no_models")
@pytest.mark.parametrize(("arguments", "message"), [
    (("nowhere",), "nowhere: no such folder or file"),
    (("--prompt", " "), "--prompt: empty. Write what to draw"),
    (("--prompts", "none.txt"), "none.txt: no such file"),
    (("--protocol", "best"), "--protocol best: unknown. There are mini"),
    (("--people", "0"), "--people 0: give 1 to 12"),
    (("--sweep", "id_scale"), "give a setting and its values"),
    (("--id-scale", "-1"), "id_scale=-1.0: give a number from 0"),
    (("-n", "0"), "num_images=0"),
    (("--given", "0"), "--given 0"),
    (("--about", "none.yaml"), "none.yaml: no such file"),
    (("--compare", "run"), "--compare: 1 runs to put side by side. Give the folders of two or more"),
    (("--protocol", "mini-gates"), "give the folder of the face packs (--data DIR"),
    (("--data", "."), "--data is for --protocol mini-gates only"),
    (("--protocol", "mini-gates", "--data", "packs"), "packs: no such folder. --data needs"),
    (("--images", ".", "--sweep", "id_scale=1,2"), "Leave one of them out"),
    (("--images", ".", "--guidance", "4", "1", "-n", "3"), "guidance_scale, num_images: of pictures"),
    (("--protocol", "mini-gates", "--data", "."), "lfw_64.npz: no such file"),
])  # fmt: skip
def test_a_mistake_is_told_before_a_model_is_opened(here, arguments, message):
    assert message in error("evaluate", *arguments)
    assert not (here / "out").exists() or not any((here / "out").iterdir())


def test_a_stack_whose_teacher_draws_nobody_asks_for_photos():
    assert "drew nobody with a face. Give folders of photos" in error("evaluate", "--people", 1, *QUICK)


def test_photos_without_any_face_are_told(here):
    (here / "alice").mkdir()
    Image.new("RGB", (64, 64)).save(here / "alice" / "a.png")
    assert "none of 1 subjects can be used. alice is left out: " in error("evaluate", "alice", *QUICK)
