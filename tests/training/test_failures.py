"""A loss that is no number stops a run with a report, and the report's step can be run again."""

import json
import math

import pytest
import torch
from torch import nn

from adaface.errors import DamagedFileError, FormatError, MissingFileError, NonFiniteError
from adaface.training import checkpoint
from adaface.training.loop import fit
from adaface.training.plan import step_generator
from adaface.training.replay import replay
from tiny_training import Line, config

SPOILT = 93  # a sample that the seed draws in its third step


@pytest.fixture
def failed(tmp_path):
    """A run that stopped in step 3."""
    with pytest.raises(NonFiniteError):
        fit(Line(spoilt=SPOILT), config(10, save_steps=1), tmp_path)
    return tmp_path


def test_the_error_names_step_term_report_and_command(tmp_path):
    with pytest.raises(NonFiniteError) as caught:
        fit(Line(spoilt=SPOILT), config(10, save_steps=1), tmp_path)
    said = str(caught.value)
    assert said.startswith("step 3: error, grad_norm is no number.")
    assert str(tmp_path / "failed" / "step-000000003") in said
    assert f"`adaface train replay {tmp_path}`" in said and "Go on from the last checkpoint" in said


def test_a_run_that_fails_in_its_first_step_has_no_checkpoint_to_go_on_from(tmp_path):
    row = Line().draw(1, step_generator(0, 1), 0.0).rows[0]
    with pytest.raises(NonFiniteError, match="step 1: .*Begin a new run"):
        fit(Line(spoilt=row), config(10), tmp_path)


def test_plan_names_and_terms_are_in_the_report_and_the_last_checkpoint_is_whole(failed):
    report = json.loads((failed / "failed" / "step-000000003" / "plan.json").read_text())
    assert report["plan"]["step"] == 3 and SPOILT in report["plan"]["rows"]
    assert report["names"] == [f"photo-{row}" for row in report["plan"]["rows"]]
    assert report["terms"] == {"error": "nan", "grad_norm": "nan"}
    assert checkpoint.latest(failed) == checkpoint.folder_of(failed, 2)


def test_replay_runs_the_step_again_and_finds_the_sample(failed):
    before = sorted((path, path.stat().st_mtime_ns) for path in failed.rglob("*"))
    found = replay(Line(spoilt=SPOILT), config(10), failed)
    assert found.bad_names == [f"photo-{SPOILT}"]
    assert [part.finite for part in found.parts] == [False] and math.isnan(found.parts[0].terms["error"])
    assert len(found.samples) == 8 and sum(sample.finite for sample in found.samples) == 7
    assert sorted((path, path.stat().st_mtime_ns) for path in failed.rglob("*")) == before


def test_a_run_with_a_mended_sample_goes_on(failed):
    assert fit(Line(), config(10), failed).finished


def test_gradients_that_are_no_numbers_stop_a_run_too(tmp_path):
    class Steep(Line):
        def loss(self, plan, part):
            terms = super().loss(plan, part)
            if plan.step == 2:
                weight = self.modules["line"][0].weight
                terms["steep"] = (weight - weight.detach()).square().sum().sqrt()  # 0, with an infinite slope
            return terms

    with pytest.raises(NonFiniteError, match="step 2: grad_norm is no number"):
        fit(Steep(), config(10), tmp_path)
    found = replay(Steep(), config(10), tmp_path)
    assert found.bad_names == list(found.parts[0].names), "the term is not of any one sample"


def test_float16_does_not_hide_a_loss_that_is_no_number(tmp_path):
    with pytest.raises(NonFiniteError, match="step 3: error"):
        fit(Line(spoilt=SPOILT), config(10, precision="fp16"), tmp_path)


def test_gradients_that_no_scale_saves_stop_a_float16_run(tmp_path):
    class Steep(Line):
        def loss(self, plan, part):
            weight = self.modules["line"][0].weight
            return {"steep": (weight - weight.detach()).square().sum().sqrt()}

    with pytest.raises(NonFiniteError, match="grad_norm is no number"):
        fit(Steep(), config(100, precision="fp16"), tmp_path)


def test_any_step_after_a_checkpoint_can_be_replayed(tmp_path):
    whole = Line(dropout=0.5)
    fit(whole, config(7, save_steps=2, keep_last=9), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    recipe = Line(dropout=0.5)
    found = replay(recipe, config(7), tmp_path, step=6)
    assert found.weights == checkpoint.folder_of(tmp_path, 4)
    assert found.plan == whole.draw(6, step_generator(0, 6), 0.0)
    assert found.parts[0].terms["error"] == pytest.approx(rows[5]["error"], rel=1e-5)
    assert found.parts[0].grad_norm == pytest.approx(rows[5]["grad_norm"], rel=1e-5)
    assert found.samples == () and found.bad_names == []


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_before_the_first_checkpoint_is_replayed_from_the_start(tmp_path, accumulate):
    whole = Line(dropout=0.5)
    fit(whole, config(5, accumulate=accumulate), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    begin = tmp_path / "start"
    found = replay(Line(dropout=0.5), config(5), tmp_path, step=4, start=begin)
    assert found.weights == begin and len(found.parts) == accumulate
    told = sum(part.terms["error"] for part in found.parts) / accumulate
    assert told == pytest.approx(rows[3]["error"], rel=1e-5)


def test_a_run_that_does_not_say_how_it_began_cannot_be_replayed_from_its_start(tmp_path):
    fit(Line(), config(2), tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(FormatError, match="run.json: does not say how the run began"):
        replay(Line(), config(2), tmp_path, step=1, start=tmp_path / "start")


def test_a_replay_leaves_the_weights_before_the_step(tmp_path):
    fit(Line(), config(5, save_steps=1, keep_last=9), tmp_path)
    recipe, other = Line(), Line()
    replay(recipe, config(5), tmp_path, step=4)
    checkpoint.load_weights(checkpoint.folder_of(tmp_path, 3), other.modules, averages=False)
    one, two = (nn.utils.parameters_to_vector(r.modules["line"].parameters()) for r in (recipe, other))
    assert torch.equal(one, two)


def test_what_cannot_be_replayed_is_told(tmp_path):
    fit(Line(), config(2), tmp_path)
    with pytest.raises(MissingFileError, match="failed: no step stopped this run. Name one with --step"):
        replay(Line(), config(2), tmp_path)
    with pytest.raises(MissingFileError, match="no step 40 yet: the last one that it tells of is 2"):
        replay(Line(), config(2), tmp_path, step=40)
    with pytest.raises(MissingFileError, match="no checkpoint before step 2.*keep_last"):
        replay(Line(), config(2), tmp_path, step=2)
    for step in (0, -1):
        with pytest.raises(MissingFileError, match=f"no step {step}: the first one is 1"):
            replay(Line(), config(2), tmp_path, step=step, start=tmp_path)


def test_a_spoilt_report_is_refused(failed):
    folder = failed / "failed" / "step-000000003"
    (folder / "plan.json").write_text("{}")
    with pytest.raises(DamagedFileError, match="plan.json: not what was written"):
        replay(Line(), config(10), failed)
    with pytest.raises(FormatError, match="other sizes"):
        replay(Line(width=9), config(10), failed, step=2)
