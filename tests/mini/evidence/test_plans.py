"""Plans of ablations: what differs, what may not, and runs that go on."""

import shutil

import pytest
from typer.testing import CliRunner

from adaface.cli.main import app
from adaface.errors import ConfigError, MissingFileError
from adaface.mini.evidence import ablate
from adaface.mini.evidence.plan import plans, read_plan
from adaface.recipes.registry import read_config
from adaface.recipes.run import CONFIG
from adaface.training.config import Layer, to_yaml
from adaface.training.distributed import Ranks
from adaface.training.state import Progress

PLAN = """
config: smoke
settings: {loop: {steps: 10, schedule: {warmup_steps: 1}}, batch: 4}
runs:
  all: {}
  no noise: {id_noise_share: 0.0}
"""


def written(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def plan(tmp_path):
    return read_plan(written(tmp_path, PLAN))


@pytest.mark.parametrize("name", plans())
def test_every_plan_of_the_package_is_whole_and_fair(name):
    plan = read_plan(name)
    first, *others = plan.configs.values()
    assert others and all(config != first for config in others)
    assert not next(iter(plan.changes.values())), "the first run leaves nothing out"


def test_stage_2_as_reported_composes_as_the_full_size_preset_of_the_paper():
    ours = read_plan("stage2").configs["as reported"]
    theirs = read_config("sd15/composition")
    assert ours.compose.weights == theirs.compose.weights
    for name in ("primed", "denoising", "candidates", "margin", "anchor", "level"):
        assert getattr(ours.compose, name) == getattr(theirs.compose, name), name
    for name in ("compose_every", "distill_share", "max_rollout", "background_weight", "likeness_weight"):
        assert getattr(ours, name) == getattr(theirs, name), name


def test_runs_differ_in_what_the_plan_says_alone(plan):
    whole, less = plan.configs.values()
    assert (whole.id_noise_share, less.id_noise_share) == (0.6, 0.0)
    assert (less.loop.steps, less.batch) == (10, 4)
    assert str(plan.budget) == "10 steps of 4 samples"


def test_settings_of_the_command_are_stronger_than_the_plans(tmp_path):
    plan = read_plan(written(tmp_path, PLAN), Layer("key=value", {"loop": {"steps": "7"}}))
    assert {config.loop.steps for config in plan.configs.values()} == {7}


def test_an_unknown_plan_names_the_known_ones():
    with pytest.raises(MissingFileError, match="stage9: no such plan.*did you mean stage"):
        read_plan("stage9")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("config: smoke\nruns: {}", "config or runs are missing"),
        ("runs: {a: {}}", "config or runs are missing"),
        ("config: [smoke]\nruns: {a: {}}", "config or runs are missing"),
        ("config: smoke\nrun: {a: {}}\nruns: {a: {}}", "unknown keys \\['run'\\]"),
        ("config: smoke\nruns: {a: 3}", 'a: give settings, one a line, or {}, not "3"'),
        ("config: smoke\nruns: {a b: {}, a-b: {}}", "would have one folder"),
        ("config: smoke\nruns: {a: {}, Start: {}}", 'run "Start": "start" is another row. Give another name'),
        ("config: smoke\nruns: {a: {}, class-prompt: {}}", '"class prompt" is another row'),
        ("config: smoke\nruns: {a: {}, b: {seed: 1}}", "b: another seed than a"),
        ("config: smoke\nruns: {a: {}, b: {loop: {steps: 50}}}", "b: another budget than a"),
        ("config: smoke\nruns: {a: {loop: {seconds: 5}}}", "gives each run other steps"),
        ("config: smoke\nruns: {a: {masc: 1}}", "mine.yaml, a.*masc"),
    ],
)
def test_a_plan_that_is_no_good_is_told_before_anything_trains(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        read_plan(written(tmp_path, text))


@pytest.fixture
def trained(monkeypatch):
    """Trainings that only leave their files; a run named in `stopped` is stopped half-way, once."""
    seen: list[str] = []
    stopped: set[str] = set()

    def finish(folder, kind):
        seen.append(f"{kind} {folder.name}")
        if folder.name in stopped:
            stopped.discard(folder.name)
            return Progress(step=5, seconds=1.0)
        (folder / "encoder").mkdir()
        (folder / "encoder" / "config.json").write_text("{}")
        return Progress(step=10, seconds=2.0, finished=True)

    def train(config, run, ranks, tell):
        run.mkdir(parents=True)
        (run / CONFIG).write_text(to_yaml(config))
        tell(Progress(step=1), None)
        return finish(run, "train")

    monkeypatch.setattr(ablate, "train", train)
    monkeypatch.setattr(ablate, "resume", lambda run, ranks, over, tell: finish(run, "resume"))
    return seen, stopped


def test_runs_are_done_in_order_and_once(plan, tmp_path, trained):
    told = []
    runs = ablate.run_all(plan, tmp_path, Ranks(), lambda name, progress, pace: told.append(name))
    again = ablate.run_all(plan, tmp_path, Ranks())
    assert trained[0] == ["train all", "train no-noise"] and told == ["all", "no noise"]
    assert runs == again and runs[1].place == tmp_path / "runs" / "no-noise" / "encoder"
    assert str(runs[0]) == "all: 10 steps in 2 s"


def test_a_run_that_was_stopped_goes_on(plan, tmp_path, trained):
    trained[1].add("no-noise")
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        ablate.run_all(plan, tmp_path, Ranks())
    assert len(ablate.run_all(plan, tmp_path, Ranks())) == 2
    assert trained[0] == ["train all", "train no-noise", "resume no-noise"]


def test_runs_of_another_plan_are_not_taken_for_these(plan, tmp_path, trained):
    ablate.run_all(plan, tmp_path, Ranks())
    other = read_plan(written(tmp_path, PLAN.replace("batch: 4", "batch: 6")))
    with pytest.raises(ConfigError, match="begun with another batch. Give another --out"):
        ablate.run_all(other, tmp_path, Ranks())
    start = read_plan(written(tmp_path, PLAN), Layer("", {"init_from": str(tmp_path)}))
    with pytest.raises(ConfigError, match=f"begun from stack, now it is {tmp_path}"):
        ablate.run_all(start, tmp_path, Ranks())


def test_the_page_is_told_budget_start_and_what_each_run_leaves_out(plan, tmp_path, trained):
    notes = ablate.told(plan, ablate.run_all(plan, tmp_path, Ranks()))
    assert "each run 10 steps of 4 samples from stack on, with seed 0" in notes[0]
    assert "trained once: the intervals are over people, and say nothing of another seed" in notes[0]
    assert notes[1:] == ("all: as planned, 2 s", "no noise: id_noise_share=0.0, 2 s")


def test_all_runs_are_looked_at_before_the_first_is_trained(plan, tmp_path, trained):
    ablate.run_all(plan, tmp_path, Ranks())
    shutil.rmtree(tmp_path / "runs" / "all")
    trained[0].clear()
    other = read_plan(written(tmp_path, PLAN.replace("id_noise_share: 0.0", "id_noise_share: 0.1")))
    with pytest.raises(ConfigError, match="no-noise: begun with another id_noise_share"):
        ablate.run_all(other, tmp_path, Ranks())
    assert trained[0] == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"--people": "99"}, "people=99 with two photos or more"),
        ({"--data": "nowhere"}, "nowhere/lfw_64.npz: no such face pack"),
        ({"--photo": "nobody.jpg"}, "nobody.jpg"),
    ],
)
def test_what_measuring_needs_is_looked_for_before_anything_trains(
    values, words, drawn_data, tmp_path, trained
):
    given = {"--data": str(drawn_data), "--faces": "faces", "--start": "stack", "--people": "2"}
    given |= {"--config": str(written(tmp_path, PLAN)), "--out": str(tmp_path / "out"), **values}
    told = CliRunner().invoke(app, ["mini", "ablate", *(word for pair in given.items() for word in pair)])
    assert told.exit_code != 0 and words in " ".join(told.stderr.split())
    assert trained[0] == []
