"""`adaface train` as a user types it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from adaface.recipes import run as recipes
from adaface.training import distributed
from adaface.training.distributed import ONE
from adaface.training.state import Progress
from tiny_cli import error, run
from tiny_data import write_tiny_data

SMALL = (
    "batch=2", "validation=0", "samples.people=1", "samples.steps=1",
    'samples.prompts=["a photo of <person>"]',
    "loop.steps=2", "loop.save_steps=1", "loop.log_steps=1", "loop.schedule.warmup_steps=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A prepared folder of drawn faces; not to be changed."""
    return write_tiny_data(tmp_path_factory.mktemp("faces") / "data", people=2)


@pytest.fixture
def words(tiny_stack, faces):
    """What stands behind `adaface train` for a run of seconds."""
    return ("smoke", f"stack={tiny_stack}", *SMALL, "--data", faces, "--device", "cpu")


@pytest.fixture(scope="module")
def whole(tiny_stack, faces, tmp_path_factory):
    """A run that is done; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run("train", "smoke", f"stack={tiny_stack}", *SMALL, "--data", faces, "--device", "cpu", "-o", folder)
    return folder


def test_a_run_prints_the_folder_of_its_encoder_and_nothing_else(words, here):
    told = run("train", *words)
    assert told.stdout.strip() == "runs/smoke/encoder"
    assert (here / "runs" / "smoke" / "encoder" / "model.safetensors").is_file()


def test_a_run_says_how_it_went_and_how_to_draw_with_it(words):
    told = run("train", *words, "-o", "mine").stderr
    assert re.search(r"step 2/2: reconstruct [\d.]+, [\d.]+ images/s, waiting [\d.]+%", told)
    assert "adaface generate PHOTO --encoder mine/encoder" in told


def test_with_json_there_is_one_object_on_stdout(words):
    told = run("train", *words, "--json")
    report = json.loads(told.stdout)
    assert told.stderr == ""
    assert (report["finished"], report["step"]) == (True, 2)
    assert report.keys() >= {"losses", "images_per_second", "waiting", "checkpoint", "encoder"}


def test_the_encoder_of_a_run_draws(whole, photo, here):
    run("generate", photo, "--encoder", whole / "encoder", "-n", 1, "-p", "a photo of <person>", "-o", "out")
    assert (here / "out" / "grid.png").is_file()


def test_a_finished_run_goes_on_with_more_steps(words):
    run("train", *words, "-o", "mine")
    report = json.loads(run("train", "--resume", "mine", "loop.steps=3", "--json").stdout)
    assert report["step"] == 3


def test_a_run_of_one_step_says_nothing_of_a_pace(words):
    said = run("train", *words, "loop.steps=1", "loop.schedule.decay=constant", "-o", "mine").stderr
    assert "done: 1 steps" in said
    assert "images/s" not in said


def test_a_run_goes_on_from_any_folder(words, here, faces, tmp_path_factory, monkeypatch):
    (here / "faces").symlink_to(faces)
    run(
        "train",
        *words[:-4],
        "--data",
        "faces",
        "--device",
        "cpu",
        "-o",
        "mine",
        "loop.steps=1",
        "loop.schedule.decay=constant",
    )
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    report = json.loads(run("train", "--resume", here / "mine", "loop.steps=2", "--json").stdout)
    assert report["step"] == 2


def test_resume_may_be_written_as_a_setting(whole):
    assert json.loads(run("train", f"resume={whole}", "--json").stdout)["step"] == 2


def test_going_on_from_weights_alone_and_with_everything_is_a_contradiction(whole):
    for words in (("--init-from", "stack"), ("init_from=stack",)):
        assert "init_from and --resume contradict each other" in error("train", "--resume", whole, *words)


def test_a_setting_that_comes_after_the_last_step_is_a_mistake(whole):
    assert "batch=4: " in error("train", "--resume", whole, "batch=4")


def test_a_misspelt_setting_names_the_nearest_one(words):
    assert "loop.step: no such setting; did you mean loop.steps?" in error("train", *words, "loop.step=3")


def test_several_mistakes_are_told_at_once(words):
    told = error("train", *words, "bacth=3", "loop.precision=fp8")
    assert told.startswith("Error: 2 faults in the settings: (1) ")


def test_an_unknown_preset_names_the_nearest_one(faces):
    assert "smokey: no such config. Give a YAML file or a preset; did you mean smoke?" in error(
        "train", "smokey", "--data", faces
    )


def test_without_a_config_an_example_is_named():
    assert "adaface train smoke" in error("train", "batch=3")


def test_without_data_the_command_that_makes_some_is_named():
    assert "Prepare one with `adaface prepare" in error("train", "smoke")


def test_a_folder_that_holds_photos_and_no_data_set_is_told(here):
    (here / "photos").mkdir()
    assert "photos" in error("train", "smoke", "--data", "photos")


def test_a_run_that_is_there_is_not_written_over(words, whole):
    assert f"adaface train --resume {whole}" in error("train", *words, "-o", whole)


def test_going_on_in_another_folder_is_a_mistake(whole):
    assert "leave out --out" in error("train", "--resume", whole, "-o", "other")


def test_a_config_beside_resume_is_a_mistake(whole):
    assert f"settings of {whole}: leave out smoke" in error("train", "smoke", "--resume", whole)


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(words, here):
    before = set(here.iterdir())
    told = run("train", *words, "--dry-run").stdout
    assert set(here.iterdir()) == before
    for part in (
        "plan: recipe=reconstruct",
        "6 pictures of 2 people",
        "M trained",
        "MB",
        "s a step, 2 steps",
    ):
        assert part in told


def test_a_dry_run_says_on_stderr_what_it_does(words):
    told = run("train", *words, "--dry-run").stderr.splitlines()
    assert told[0] == "opening the models"
    assert told[-1].startswith("time: ")


def test_a_dry_run_in_json_holds_the_first_plan_and_says_no_more(words):
    done = run("train", *words, "--dry-run", "--json")
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert len(told["plan"]["rows"]) == 2
    assert told["memory"]["total"] > 0


def test_a_step_that_went_well_can_be_looked_at_again(whole):
    told = json.loads(run("train", "replay", whole, "--step", 2, "--json").stdout)
    assert told["plan"]["step"] == 2
    assert len(told["parts"][0]["names"]) == 2
    assert told["bad"] == []


def test_a_run_without_a_bad_step_asks_which_one(whole):
    assert "--step" in error("train", "replay", whole)


def test_a_bad_picture_stops_the_run_and_is_found_again(words, monkeypatch):
    """One photo's noise is no number: the run stops, says so, and the replay names the photo."""
    import torch

    from adaface.recipes.base.photos import Photos

    read = Photos.read

    def spoilt(self, row, seed):
        drawn = read(self, row, seed)
        if row == 3:
            drawn.noise.fill_(torch.nan)
        return drawn

    monkeypatch.setattr(Photos, "read", spoilt)
    many = ("loop.steps=20", "loop.save_steps=0", "samples.people=0")
    told = error_with_output("train", *words, *many, "-o", "mine")
    assert re.search(r"step \d+: .*reconstruct.* is no number.*`adaface train replay mine`", told)
    found = run("train", "replay", "mine").stdout
    assert "no number by themselves: person1-0. Look at these pictures first" in found


def error_with_output(*arguments) -> str:
    result = run(*arguments, code=1)
    return " ".join(line for line in result.stderr.splitlines() if line.startswith("Error: "))


def test_help_says_how_to_begin_go_on_and_look_again():
    for words in (("train", "--help"), ("train",)):
        told = " ".join(run(*words).output.split())
        for part in ("adaface train smoke", "--resume", "adaface train replay RUN", "torchrun"):
            assert part in told


def environment() -> dict[str, str]:
    """Of a process of its own, with this checkout."""
    source = Path(__file__).resolve().parents[2] / "src"
    return {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(words, here):
    long = [str(word) for word in (*words, "loop.steps=100000", "loop.save_steps=0", "samples.people=0")]
    command = [sys.executable, "-m", "adaface", "train", *long, "-o", "mine"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    metrics = here / "mine" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "stopped and saved" in told and "Go on: adaface train --resume mine" in told
    assert len(list((here / "mine" / "checkpoints").iterdir())) == 1


def test_a_stopped_run_ends_once_its_processes_are_done(words, monkeypatch):
    """torchrun kills what is left when one process ends with an error, such as 130."""
    done = []

    @contextmanager
    def joined(device):
        yield ONE
        done.append("all")

    monkeypatch.setattr(distributed, "joined", joined)
    monkeypatch.setattr(recipes, "train", lambda *args, **named: Progress(step=1, steps=2))
    assert "stopped and saved" in run("train", *words, code=130).stderr
    assert done == ["all"]


@pytest.mark.slow
def test_two_processes_train_as_one_does(words, here):
    """torchrun with gloo: the same plans, so the same losses and gradients to 1e-5."""
    import torch

    many = [str(word) for word in (*words, "samples.people=0", "workers=1")]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*launch, "-m", "adaface", "train", *many, "-o", "two", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=280)
    assert done.returncode == 0, done.stderr
    run("train", *many, "-o", "one")
    assert json.loads(Path("two/run.json").read_text())["started"][0]["processes"] == 2
    one, two = (first_gradients(Path(name)) for name in ("one", "two"))
    assert one.norm() > 0
    assert torch.linalg.vector_norm(one - two) < 1e-5 * one.norm()
    rows = [json.loads(Path(f"{name}/metrics.jsonl").read_text().splitlines()[0]) for name in ("one", "two")]
    assert rows[0]["reconstruct"] == pytest.approx(rows[1]["reconstruct"], rel=1e-5)


def first_gradients(folder: Path):
    """Of a run's first step, times a number: AdamW's first moments, which begin at 0."""
    import torch

    place = folder / "checkpoints" / "step-000000001" / "optimizer.pt"
    state = torch.load(place, weights_only=True)["adamw"]["state"]
    return torch.cat([state[index]["exp_avg"].flatten() for index in sorted(state)])


def test_a_step_that_a_run_has_not_done_is_told(whole):
    assert "no step 40 yet" in error("train", "replay", whole, "--step", 40)


def test_a_file_in_the_way_of_a_run_is_told(words, here):
    (here / "file").write_text("mine")
    assert "file: a file is in the way" in error("train", *words, "-o", "file")


def test_a_dry_run_tells_what_would_stop_the_run(words):
    assert "give a batch of at least 4" in error("train", *words, "--dry-run", "loop.accumulate=4")
    assert "samples.prompts" in error("train", *words, "--dry-run", "samples.prompts=a photo of <bob>")
