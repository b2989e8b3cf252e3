"""Checkpoints are there whole or not at all, and a run outlives a full disk and a damaged file."""

import json
import resource
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from adaface.errors import (
    ConfigError,
    DamagedFileError,
    FormatError,
    MissingFileError,
    UnsafeFileError,
    WriteError,
)
from adaface.files import sha256
from adaface.training import checkpoint
from adaface.training.loop import fit
from adaface.training.state import Hooks
from tiny_training import Line, config


def names(run):
    return [int(folder.name[5:]) for folder in checkpoint.checkpoints(run)]


def test_the_last_ones_and_the_best_one_are_kept(tmp_path):
    figures = iter([5.0, 1.0, 4.0, 3.0, float("nan"), 2.0])
    hooks = Hooks(validate=lambda: next(figures))
    fit(Line(), config(6, save_steps=1, keep_last=2, keep_best=1), tmp_path, hooks=hooks)
    assert names(tmp_path) == [2, 5, 6]
    assert checkpoint.best(tmp_path).name == "step-000000002"
    assert checkpoint.latest(tmp_path).name == "step-000000006"


def test_without_a_figure_the_mean_loss_since_the_last_save_decides(tmp_path):
    told = []
    fit(Line(), config(4, save_steps=2), tmp_path, hooks=Hooks(log=told.append))
    figures = [checkpoint.read_state(folder).figure for folder in checkpoint.checkpoints(tmp_path)]
    means = [(told[i]["error"] + told[i + 1]["error"]) / 2 for i in (0, 2)]
    assert figures == pytest.approx(means, rel=1e-5)


def test_figures_and_exports_are_of_the_averages(tmp_path):
    recipe, seen = Line(), []

    def look(*_):
        seen.append(nn.utils.parameters_to_vector(recipe.modules["line"].parameters()).detach().clone())
        return 1.0

    hooks = Hooks(validate=look, export=look)
    fit(recipe, config(3, ema_decay=0.9), tmp_path, hooks=hooks)
    left = nn.utils.parameters_to_vector(recipe.modules["line"].parameters())
    assert len(seen) == 2 and all(torch.equal(vector, left) for vector in seen)


def test_what_a_recipe_exports_is_hashed_with_the_rest(tmp_path):
    def export(folder):
        (folder / "encoder").mkdir()
        (folder / "encoder" / "config.json").write_text("{}")

    fit(Line(), config(1), tmp_path, hooks=Hooks(export=export))
    folder = checkpoint.latest(tmp_path)
    assert set(json.loads((folder / checkpoint.HASHES).read_text())) == {
        "weights.safetensors",
        "averages.safetensors",
        "optimizer.pt",
        "state.json",
        "encoder/config.json",
    }
    (folder / "encoder" / "config.json").write_text("{ }")
    with pytest.raises(DamagedFileError, match="config.json: not what was written, by its hash"):
        checkpoint.verify(folder)


def test_a_damaged_checkpoint_is_passed_over_and_written_anew(tmp_path, caplog):
    fit(Line(), config(3, save_steps=1), tmp_path)
    file = checkpoint.folder_of(tmp_path, 3) / checkpoint.WEIGHTS
    good = file.read_bytes()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    again = Line()
    fit(again, config(3), tmp_path)
    assert [step for step, *_ in again.seen] == [3]
    assert "weights.safetensors: not what was written, by its hash. Passed over" in caplog.text
    assert file.read_bytes() == good


def test_a_run_with_damaged_checkpoints_only_says_which_file(tmp_path):
    fit(Line(), config(1), tmp_path)
    (checkpoint.folder_of(tmp_path, 1) / checkpoint.OPTIMIZER).unlink()
    with pytest.raises(DamagedFileError, match="optimizer.pt: missing from its checkpoint"):
        fit(Line(), config(2), tmp_path)
    (checkpoint.folder_of(tmp_path, 1) / checkpoint.HASHES).write_text("[")
    with pytest.raises(DamagedFileError, match="hashes.json: cannot be read"):
        fit(Line(), config(2), tmp_path)


def test_what_a_kill_left_is_removed_and_the_rest_is_kept(tmp_path):
    fit(Line(), config(1), tmp_path)
    for name in (".step-000000002", ".gone-step-000000000"):
        (tmp_path / "checkpoints" / name).mkdir()
        (tmp_path / "checkpoints" / name / "weights.safetensors").write_bytes(b"half")
    fit(Line(), config(2), tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-000000001",
        "step-000000002",
    ]


@pytest.mark.parametrize("place", ["run", "checkpoint"])
def test_a_new_run_starts_from_weights_with_everything_else_anew(tmp_path, place):
    fit(Line(), config(3), tmp_path)
    recipe = Line()
    source = tmp_path if place == "run" else checkpoint.latest(tmp_path)
    assert checkpoint.load_weights(source, recipe.modules) == checkpoint.latest(tmp_path)
    before = Line().modules["line"][0].weight
    assert not torch.equal(recipe.modules["line"][0].weight, before)
    told = []
    fit(recipe, config(1), tmp_path / "new", hooks=Hooks(log=told.append))
    assert told[0]["step"] == 1


def test_weights_to_start_from_must_be_there_and_fit(tmp_path):
    with pytest.raises(MissingFileError, match="no checkpoint in it. Give a run's folder"):
        checkpoint.load_weights(tmp_path, Line().modules)
    fit(Line(), config(1), tmp_path)
    with pytest.raises(FormatError, match="step-000000001: a run of other sizes: line.0.weight"):
        checkpoint.load_weights(tmp_path, Line(width=5).modules)
    file = checkpoint.latest(tmp_path) / checkpoint.STATE
    file.write_text(file.read_text() + " ")
    with pytest.raises(DamagedFileError, match="state.json: not what was written"):
        checkpoint.load_weights(file.parent, Line().modules)


def test_a_run_may_begin_an_average_later(tmp_path):
    fit(Line(), config(2, ema_decay=0.0), tmp_path)
    recipe = Line()
    fit(recipe, config(4, ema_decay=0.9), tmp_path)
    assert (checkpoint.latest(tmp_path) / checkpoint.AVERAGES).is_file()


@pytest.mark.parametrize("at", ["weights", "optimizer", "metrics"])
def test_a_full_disk_stops_the_run_and_keeps_the_last_checkpoint(tmp_path, at):
    fit(Line(width=3000), config(1), tmp_path)
    last = checkpoint.latest(tmp_path)
    weights = (last / checkpoint.WEIGHTS).stat().st_size
    limit = {"weights": 4000, "optimizer": weights + 100, "metrics": 100}[at]
    assert (last / checkpoint.OPTIMIZER).stat().st_size > limit
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(WriteError, match=r"not (saved|written) \(.*File too large.*\). Free"):
            fit(Line(width=3000), config(2), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.latest(tmp_path) == last
    assert not list((tmp_path / "checkpoints").glob(".*"))
    assert fit(Line(width=3000), config(2), tmp_path).finished


def test_tensors_that_two_modules_share_are_saved_and_trained_once(tmp_path):
    recipe = Line()
    recipe.modules["again"] = recipe.modules["line"]
    fit(recipe, config(2), tmp_path)
    alone = Line()
    fit(alone, config(2), tmp_path / "alone")
    for one, two in zip(recipe.modules["line"].parameters(), alone.modules["line"].parameters(), strict=True):
        assert torch.equal(one, two)


def test_buffers_are_part_of_a_checkpoint(tmp_path):
    class Counting(Line):
        def __init__(self):
            super().__init__()
            self.modules["line"].append(nn.BatchNorm1d(1, affine=False))

    recipe, again = Counting(), Counting()
    fit(recipe, config(3), tmp_path)
    fit(again, config(3), tmp_path)
    assert int(again.modules["line"][-1].num_batches_tracked) == 3
    assert torch.equal(again.modules["line"][-1].running_var, recipe.modules["line"][-1].running_var)


def test_two_runs_in_one_folder_are_refused(tmp_path):
    with checkpoint.alone(tmp_path), pytest.raises(ConfigError, match="another process trains in it. Wait"):
        fit(Line(), config(1), tmp_path)
    assert fit(Line(), config(1), tmp_path).finished


def test_an_optimizer_file_with_more_than_tensors_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    fit(Line(), config(1), tmp_path)
    folder = checkpoint.latest(tmp_path)
    torch.save({"adamw": Trap()}, folder / checkpoint.OPTIMIZER)
    hashes = {path.name: sha256(path) for path in folder.iterdir() if path.name != checkpoint.HASHES}
    (folder / checkpoint.HASHES).write_text(json.dumps(hashes))
    with pytest.raises(UnsafeFileError, match="weights-only loader refuses it; nothing of it was run"):
        fit(Line(), config(2), tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("name", "text"), [("state.json", "{}"), ("weights.safetensors", "no tensors")])
def test_files_of_another_kind_under_the_right_names_are_told(tmp_path, name, text):
    fit(Line(), config(1), tmp_path)
    folder = checkpoint.latest(tmp_path)
    (folder / name).write_text(text)
    hashes = {path.name: sha256(path) for path in folder.iterdir() if path.name != checkpoint.HASHES}
    (folder / checkpoint.HASHES).write_text(json.dumps(hashes))
    with pytest.raises(DamagedFileError, match=f"{name}: cannot be read"):
        fit(Line(), config(2), tmp_path)


def test_damaged_later_checkpoints_do_not_push_out_the_good_one(tmp_path):
    fit(Line(), config(3, save_steps=1, keep_last=3), tmp_path)
    for step in (2, 3):
        (checkpoint.folder_of(tmp_path, step) / checkpoint.WEIGHTS).write_bytes(b"")
    fit(Line(signal_at=2), config(9, save_steps=0, keep_last=1, keep_best=0), tmp_path)
    assert names(tmp_path) == [2]
    checkpoint.verify(checkpoint.folder_of(tmp_path, 2))


def test_what_others_put_beside_the_checkpoints_is_left_alone(tmp_path):
    fit(Line(), config(2, save_steps=1), tmp_path)
    foreign = [tmp_path / "checkpoints" / name for name in (".git", "step-best", "step-000000002-backup")]
    for folder in foreign:
        folder.mkdir()
    fit(Line(), config(5, save_steps=1, keep_last=1, keep_best=0), tmp_path)
    assert all(folder.is_dir() for folder in foreign)
    assert names(tmp_path) == [5]
    assert checkpoint.latest(tmp_path) == checkpoint.folder_of(tmp_path, 5)


def test_the_best_checkpoint_is_one_that_is_whole(tmp_path):
    figures = iter([1.0, 2.0, 3.0])
    fit(Line(), config(3, save_steps=1, keep_last=3), tmp_path, hooks=Hooks(validate=lambda: next(figures)))
    (checkpoint.folder_of(tmp_path, 1) / checkpoint.WEIGHTS).write_bytes(b"")
    assert checkpoint.best(tmp_path) == checkpoint.folder_of(tmp_path, 2)


def test_trouble_of_a_validation_is_not_told_as_a_full_disk(tmp_path):
    def validate():
        raise OSError(5, "the photos are gone")

    with pytest.raises(OSError, match="the photos are gone"):
        fit(Line(), config(1), tmp_path, hooks=Hooks(validate=validate))


def test_a_file_where_the_run_should_be_is_told(tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ConfigError, match="a file is in the way. Give a folder"):
            fit(Line(), config(1), place)


def test_without_locks_a_run_warns_and_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(checkpoint, "held", lambda run: nullcontext(False))
    assert fit(Line(), config(1), tmp_path).finished
    assert "cannot be locked" in caplog.text


@pytest.mark.parametrize("wrong", [{"step": -5}, {"parts": 0}])
def test_a_state_out_of_range_is_none(tmp_path, wrong):
    fit(Line(), config(1), tmp_path)
    path = checkpoint.folder_of(tmp_path, 1) / checkpoint.STATE
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    with pytest.raises(DamagedFileError, match="state.json: cannot be read .no state of a run"):
        checkpoint.read_state(path.parent)


def test_folders_of_a_checkpoint_reach_the_disk_too(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(checkpoint, "_to_disk", lambda path: seen.append(path.name))
    checkpoint.write(tmp_path / "step-000000001", lambda beside: (beside / "encoder").mkdir())
    assert "encoder" in seen
