"""Whole runs: begun, gone on with, refused, and what they leave."""

import json
import shutil
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError, DamagedFileError, FormatError, MissingFileError, WriteError
from adaface.recipes import run as runs
from adaface.recipes.base.opening import find_encoder
from adaface.recipes.estimate import estimate
from adaface.recipes.registry import load_config
from adaface.recipes.run import read_run, replay, resume, train
from adaface.training import checkpoint
from adaface.training.config import Layer, read_yaml
from adaface.training.distributed import ONE
from tiny_data import write_tiny_data

NOTHING = Layer("key=value", {})
SHORT = {"steps": 1, "schedule": {"warmup_steps": 0}}


def weights(run, step=4):
    return load_file(run / "checkpoints" / f"step-{step:09d}" / "weights.safetensors")


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tiny_stack, faces, tmp_path_factory):
    """A run of 4 steps, done; not to be changed."""
    from tiny_recipe import small

    run = tmp_path_factory.mktemp("runs") / "whole"
    train(small(tiny_stack, faces), run, ONE)
    return run


def test_a_run_leaves_an_encoder_that_opens(whole):
    encoder, start = (AdaFaceEncoder.from_pretrained(whole / place) for place in ("encoder", "start/encoder"))
    assert encoder.fingerprint() != start.fingerprint()


def test_each_checkpoint_holds_its_encoder(whole):
    last = AdaFaceEncoder.from_pretrained(whole / "checkpoints" / "step-000000004" / "encoder")
    assert last.fingerprint() == AdaFaceEncoder.from_pretrained(whole / "encoder").fingerprint()


def test_a_run_keeps_its_settings_whole(whole, settings):
    assert load_config([read_yaml(whole / "config.yaml")]) == settings()


def test_a_run_says_which_data_it_saw(whole, faces):
    about = json.loads((whole / "run.json").read_text())
    card = json.loads((faces / "dataset.json").read_text())
    assert about["data"] == card["index"]["sha256"]
    assert (about["recipe"], about["samples"], about["people"]) == ("reconstruct", 12, 4)


def test_a_run_shows_the_start_the_way_and_the_end(whole):
    assert sorted(path.stem[-1] for path in (whole / "samples").iterdir()) == ["0", "2", "4"]


def test_each_row_of_the_metrics_has_losses_and_pace(whole):
    rows = [row for row in metrics(whole) if "validation" not in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    pace = {"images_per_second", "waiting"}
    assert all({"reconstruct", "grad_norm", "learning_rate"} <= row.keys() for row in rows)
    assert not pace & rows[0].keys()  # one step alone tells of no pace
    assert all(pace <= row.keys() and row["images_per_second"] > 0 for row in rows[1:])


def test_the_same_draw_is_validated_at_the_start_and_at_each_checkpoint(whole):
    rows = [row for row in metrics(whole) if "validation" in row]
    assert [row["step"] for row in rows] == [0, 2, 4]
    state = json.loads((whole / "checkpoints" / "step-000000004" / "state.json").read_text())
    assert state["figure"] == pytest.approx(rows[-1]["validation"], rel=1e-5)  # a row has six digits


def test_curves_are_there_for_tensorboard(whole):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(whole / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("reconstruct")] == [1, 2, 3, 4]
    assert [event.step for event in events.Scalars("validation")] == [0, 2, 4]


def test_progress_is_told_after_each_step(settings, tmp_path):
    seen = []
    train(settings(samples={"people": 0}), tmp_path / "run", ONE, lambda p, pace: seen.append((p.step, pace)))
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    assert seen[-1][1].images > 0
    assert 0 <= seen[-1][1].waiting < 1


def test_a_run_that_goes_on_ends_where_an_unbroken_one_does(settings, whole, tmp_path):
    run = tmp_path / "run"
    first = settings(loop={"schedule": {"decay": "constant", "warmup_steps": 1}, "steps": 2})
    train(first, run, ONE)
    again = tmp_path / "unbroken"
    train(settings(loop={"schedule": {"decay": "constant", "warmup_steps": 1}}), again, ONE)
    done = resume(run, ONE, Layer("key=value", {"loop": {"steps": 4}}))
    assert done.finished
    assert weights(run).keys() == weights(again).keys()
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(run).items())


def test_a_second_run_in_the_same_folder_is_refused(settings, whole):
    with pytest.raises(ConfigError, match=r"a run in it already. Go on with it: adaface train --resume"):
        train(settings(), whole, ONE)


def test_what_cannot_begin_leaves_no_run(settings, tmp_path):
    with pytest.raises(MissingFileError):
        train(settings(init_from=str(tmp_path / "nowhere")), tmp_path / "run", ONE)
    assert not (tmp_path / "run").exists()


def test_a_run_that_began_without_its_start_begins_again(settings, tmp_path):
    from adaface.training.config import to_yaml

    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(to_yaml(settings(samples={"people": 0})))
    assert resume(run, ONE, NOTHING).step == 4


def test_new_weights_and_going_on_contradict_each_other(whole):
    with pytest.raises(ConfigError, match="init_from and --resume contradict each other"):
        resume(whole, ONE, Layer("key=value", {"init_from": "stack"}))


@pytest.mark.parametrize("setting", [{"seed": 3}, {"kv_multipliers": [2]}])
def test_what_a_run_is_cannot_change_while_it_goes_on(whole, setting):
    with pytest.raises(ConfigError, match=f"{next(iter(setting))}: part of what .* init_from="):
        resume(whole, ONE, Layer("key=value", setting))


def test_going_on_with_other_data_is_refused(whole, tmp_path):
    other = write_tiny_data(tmp_path / "other", seed=9)
    with pytest.raises(ConfigError, match="trained on data whose index is .* init_from="):
        resume(whole, ONE, Layer("key=value", {"data": str(other)}))


def test_going_on_with_nothing_says_so(tmp_path):
    with pytest.raises(MissingFileError, match="no run there"):
        read_run(tmp_path, NOTHING)


def test_weights_alone_begin_a_run_with_a_fresh_optimiser(settings, whole, tmp_path):
    """The original's second round: another number of keys and values, everything else anew."""
    run = tmp_path / "second"
    config = settings(init_from=str(whole), kv_multipliers=[2], kv_noise=0.0, loop=SHORT)
    config_of = AdaFaceEncoder.from_pretrained(whole / "encoder").config
    done = train(config, run, ONE)
    assert done.step == 1
    assert config_of.multipliers == (1, 1)
    assert AdaFaceEncoder.from_pretrained(run / "start" / "encoder").config.multipliers == (2, 2)
    state = torch.load(run / "checkpoints" / "step-000000001" / "optimizer.pt", weights_only=True)
    counts = {float(row["step"]) for row in _rows(state)}
    assert counts == {1.0}


def _rows(state):
    """Each weight's numbers of an optimiser, wherever they are in its state."""
    if isinstance(state, dict):
        if "step" in state and "exp_avg" in state:
            yield state
        for value in state.values():
            yield from _rows(value)
    elif isinstance(state, list):
        for value in state:
            yield from _rows(value)


def test_a_run_of_other_sizes_is_not_taken_for_this_one(whole, settings, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    wide = AdaFaceEncoder.from_pretrained(run / "encoder").expand_attention(2, 0.0)
    wide.save_pretrained(run / "start" / "encoder")
    with pytest.raises(FormatError, match="other sizes"):
        resume(run, ONE, NOTHING)


@pytest.mark.parametrize(("step", "begin"), [(1, "start/encoder"), (3, "checkpoints/step-000000002")])
def test_a_step_can_be_looked_at_again(whole, step, begin):
    seen = replay(whole, step, ONE)
    (row,) = [row for row in metrics(whole) if row["step"] == step and "validation" not in row]
    assert seen.weights == whole / begin
    assert seen.parts[0].terms["reconstruct"] == pytest.approx(row["reconstruct"], rel=1e-4)
    assert len(seen.parts[0].names) == 4


def copied(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def over(**values):
    return Layer("key=value", values)


@pytest.mark.parametrize("held", [True, False], ids=["in use", "another optimiser"])
def test_what_is_refused_changes_nothing_of_the_run(whole, tmp_path, held):
    run = copied(whole, tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    changed = over(batch=2, loop={"steps": 6, **({} if held else {"optimizer": {"name": "prodigy"}})})
    with ExitStack() as until:
        if held:
            until.enter_context(checkpoint.alone(run))
        with pytest.raises(ConfigError if held else FormatError, match="trains in it|now it is prodigy"):
            resume(run, ONE, changed)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"batch": 2}, "batch=2"),
        ({"loop": {"steps": 3}}, "loop.steps=3"),
        ({"workers": 1, "loop": {"optimizer": {"learning_rate": 0.5}}}, "loop.optimizer.learning_rate=0.5"),
    ],
)
def test_a_setting_for_which_a_done_run_has_no_step_left_is_told(whole, setting, named):
    with pytest.raises(ConfigError, match=rf"^{named}: .* done after 4 steps.*\(loop.steps=8\).*init_from="):
        resume(whole, ONE, over(**setting))


def test_a_run_whose_time_is_over_is_told_to_take_more_of_it(whole):
    with pytest.raises(ConfigError, match=r"loop.steps=9, loop.seconds=0.001: .* \(loop.seconds=\d+\)"):
        resume(whole, ONE, over(loop={"steps": 9, "seconds": 0.001}))


def test_a_stopped_run_can_be_ended_where_it_stands(whole, tmp_path):
    """After two of its four steps; then it is done."""
    run = copied(whole, tmp_path)
    for later in (checkpoint.folder_of(run, 4), run / "encoder"):
        shutil.rmtree(later)
    done = resume(run, ONE, over(loop={"steps": 2}))
    assert done.finished and done.step == 2
    ended, saved = (
        AdaFaceEncoder.from_pretrained(place / "encoder") for place in (run, checkpoint.folder_of(run, 2))
    )
    assert ended.fingerprint() == saved.fingerprint()
    with pytest.raises(ConfigError, match=r"^batch=2: .* done after 2 steps"):
        resume(run, ONE, over(batch=2))


def test_a_done_run_is_still_done_on_another_place(whole, tmp_path):
    assert resume(copied(whole, tmp_path), ONE, over(workers=1, tensorboard="false", batch=4)).finished


def test_two_that_begin_in_one_folder_are_kept_apart(settings, tmp_path, monkeypatch):
    """The second one comes while the first one still opens its models."""
    config, opened = settings(samples={"people": 0}, loop=SHORT), runs.open_recipe

    def slow(*arguments):
        monkeypatch.setattr(runs, "open_recipe", opened)
        with pytest.raises(ConfigError, match="another process trains in it"):
            train(config, tmp_path / "run", ONE)
        return opened(*arguments)

    monkeypatch.setattr(runs, "open_recipe", slow)
    assert train(config, tmp_path / "run", ONE).finished


def test_a_folder_of_something_else_is_left_alone(settings, tmp_path):
    (tmp_path / "checkpoints" / ".git").mkdir(parents=True)
    with pytest.raises(ConfigError, match="something in it that is no run. Give another --out"):
        train(settings(), tmp_path, ONE)
    assert [path.name for path in tmp_path.rglob("*")] == ["checkpoints", ".git"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"samples": {"prompts": ["<bob>"]}}, "samples.prompts: .*bob"),
        ({"samples": {"steps": 0}}, "steps"),
        ({"batch": 2, "loop": {"accumulate": 4}}, "give a batch of at least 4"),
    ],
)
def test_a_typo_leaves_no_run(settings, tmp_path, wrong, told):
    with pytest.raises(ConfigError, match=told):
        train(settings(**wrong), tmp_path / "run", ONE)
    with pytest.raises(ConfigError, match=told):
        estimate(settings(**wrong), ONE)
    assert not (tmp_path / "run").exists()


def test_a_seed_too_large_for_a_generator_is_told(settings):
    with pytest.raises(ConfigError, match="seed=99999999999999999999: give one below"):
        settings(seed=99999999999999999999)


def test_a_spoilt_record_of_the_data_is_told(whole, tmp_path):
    run = copied(whole, tmp_path)
    (run / "run.json").write_text("{")
    with pytest.raises(DamagedFileError, match="run.json: cannot be read .*which data this run saw"):
        resume(run, ONE, NOTHING)


def test_a_curve_folder_that_cannot_be_written_is_told(settings, tmp_path, monkeypatch):
    import torch.utils.tensorboard as board

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(board, "SummaryWriter", refuse)
    with pytest.raises(WriteError, match="tensorboard: not written .Read-only file.*tensorboard=false"):
        train(settings(samples={"people": 0}), tmp_path / "run", ONE)


def test_folders_are_found_from_anywhere(settings, tiny_stack, faces, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "stack").symlink_to(tiny_stack)
    (tmp_path / "faces").symlink_to(faces)
    monkeypatch.chdir(tmp_path)
    settled = settings(samples={"people": 0}, loop={"steps": 1, "schedule": {"warmup_steps": 0}})
    given = replace(settled, stack="stack", data="~/faces")
    assert estimate(given, ONE).data["samples"] == 12
    train(given, tmp_path / "run", ONE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert resume(tmp_path / "run", ONE, over(stack="../stack", data="~/faces", loop={"steps": 2})).step == 2


def test_a_replay_has_the_settings_of_its_step(settings, tmp_path):
    run = tmp_path / "run"
    loop = {"keep_last": 9, "schedule": {"decay": "constant", "warmup_steps": 0}}
    train(settings(samples={"people": 0}, loop={"steps": 2, "save_steps": 1, **loop}), run, ONE)
    resume(run, ONE, over(batch=2, loop={"steps": 4}))
    told = {row["step"]: row["reconstruct"] for row in metrics(run) if "reconstruct" in row}
    for step, batch in ((2, 4), (4, 2)):
        (part,) = replay(run, step, ONE).parts
        assert len(part.names) == batch
        assert part.terms["reconstruct"] == pytest.approx(told[step], rel=1e-4)
    shutil.rmtree(checkpoint.folder_of(run, 2))
    with pytest.raises(MissingFileError, match="no checkpoint between step 3 and the change of its settings"):
        replay(run, 3, ONE)


def test_curves_of_steps_that_are_done_again_are_there_once(whole, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = copied(whole, tmp_path)
    shutil.rmtree(checkpoint.folder_of(run, 4))
    resume(run, ONE, NOTHING)
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("reconstruct")] == [1, 2, 3, 4]


def test_a_run_begins_with_the_newest_whole_checkpoint_of_another_or_its_best(whole, tmp_path):
    run = copied(whole, tmp_path)
    newest, before = checkpoint.folder_of(run, 4), checkpoint.folder_of(run, 2)
    assert (run / "encoder" / "config.json").is_file()
    assert find_encoder(run) == newest / "encoder"
    (newest / "encoder" / "model.safetensors").write_bytes(b"")
    assert find_encoder(run) == before / "encoder"
    assert find_encoder(f"{run}:best") == before / "encoder"
    for place in (newest, newest / "encoder"):
        with pytest.raises(DamagedFileError, match="not what was written"):
            find_encoder(place)
