"""Several processes, one training: the same gradients, one checkpoint, one end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training import ranks as program

from adaface.training import checkpoint
from adaface.training.distributed import ONE
from adaface.training.loop import fit
from adaface.training.plan import step_generator
from adaface.training.replay import replay
from tiny_training import Line, config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PROGRAM = str(Path(__file__).with_name("ranks.py"))
PATIENCE = 400  # seconds


def torchrun(*options):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,  # as a terminal does: its Ctrl-C reaches all of them
    )


def results(out):
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def one_node(tmp_path_factory):
    """Two processes on this machine."""
    out = tmp_path_factory.mktemp("ranks")
    with torchrun("--standalone", "--nproc-per-node", "2", PROGRAM, "all", str(out)) as process:
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return out


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory):
    """Two launchers with one process each, as on two machines."""
    out = tmp_path_factory.mktemp("nodes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = [
        "--nnodes",
        "2",
        "--nproc-per-node",
        "1",
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        str(port),
    ]
    launchers = [torchrun(*shared, "--node-rank", str(i), PROGRAM, "all", str(out)) for i in range(2)]
    said = [launcher.communicate(timeout=PATIENCE)[0] for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0], "\n".join(said)
    return out


@pytest.fixture(params=["one_node", "two_nodes"])
def out(request):
    return request.getfixturevalue(request.param)


def final_weights(run, step=4):
    return load_file(run / "checkpoints" / f"step-{step:09d}" / checkpoint.WEIGHTS)


def test_there_are_two_processes_and_they_hear_each_other(out):
    told = results(out)
    assert [(row["world"], row["rank"]) for row in told] == [(2, 0), (2, 1)]
    assert all(row["gathered"] == [{"rank": 0}, {"rank": 1}] for row in told)


@pytest.mark.parametrize("kind", ["gradients", "gradients_in_parts"])
def test_gradients_are_those_of_one_process_with_the_same_batch(out, kind):
    alone = program.gradients(ONE)
    for row in results(out):
        assert row[kind]["grads"].keys() == alone["grads"].keys()
        for name, grad in alone["grads"].items():
            assert row[kind]["grads"][name] == pytest.approx(grad, abs=1e-5, rel=1e-5)
        assert row[kind]["norm"] == pytest.approx(alone["norm"], rel=1e-5)


def test_each_process_reads_other_samples_and_together_all_of_them(out):
    first, second = (row["seen"] for row in results(out))
    recipe = Line()
    for step in range(4):
        plan = recipe.draw(step + 1, step_generator(0, step + 1), 0.0)
        assert first[step][2] == list(plan.rows[:4])
        assert second[step][2] == list(plan.rows[4:])


def test_two_and_two_steps_of_two_processes_equal_four_bit_for_bit(out):
    whole, halves = (final_weights(out / run) for run in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_losses_and_rates_are_told_as_one_process_tells_them(out, tmp_path):
    fit(Line(), config(4), tmp_path)
    alone, several = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (tmp_path, out / "whole")
    )
    assert len(several) == 4
    for name in ("step", "error", "grad_norm", "learning_rate"):
        assert [row[name] for row in several] == pytest.approx([row[name] for row in alone], rel=1e-4)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_another_number_of_processes_goes_on_with_the_same_plans(one_node, tmp_path, accumulate):
    run = one_node / "other" if accumulate == 1 else tmp_path
    if accumulate == 4:
        fit(Line(), config(2), run)
    recipe = Line()
    assert fit(recipe, config(4, accumulate=accumulate), run).finished
    assert {step for step, *_ in recipe.seen} == {3, 4}
    whole = final_weights(one_node / "whole")
    for name, weight in final_weights(run).items():
        torch.testing.assert_close(weight, whole[name], atol=1e-5, rtol=1e-5)
    if accumulate == 1:
        started = json.loads((run / "run.json").read_text())["started"]
        assert [row["processes"] for row in started] == [2, 1]


def test_a_signal_to_one_process_stops_all_after_the_same_step(out):
    assert [row["stopped"] for row in results(out)] == [{"step": 3, "finished": False}] * 2
    assert checkpoint.read_state(checkpoint.latest(out / "stopped")).step == 3


def test_ctrl_c_saves_once_and_ends_all_processes_after_the_same_step(tmp_path):
    lines, until = tmp_path / "endless" / "metrics.jsonl", time.monotonic() + 120
    with torchrun("--standalone", "--nproc-per-node", "2", PROGRAM, "endless", str(tmp_path)) as launcher:
        while not (lines.is_file() and lines.read_text().count("\n") > 3):
            assert launcher.poll() is None and time.monotonic() < until, "it never began"
            time.sleep(0.05)
        os.killpg(launcher.pid, signal.SIGINT)
        said, _ = launcher.communicate(timeout=PATIENCE)
    first, second = (json.loads((tmp_path / f"ended-{rank}.json").read_text()) for rank in range(2))
    assert first == second and first[0] > 3 and not first[1], said
    newest = checkpoint.latest(tmp_path / "endless")
    assert checkpoint.read_state(newest).step == first[0]
    assert fit(Line(), config(first[0] + 2, save_steps=0), tmp_path / "endless").finished


def test_a_bad_sample_of_one_process_stops_all_and_is_named(out):
    told = results(out)
    assert all("step 3: error, grad_norm is no number" in row["spoilt"]["said"] for row in told)
    row = told[0]["spoilt"]["row"]
    found = replay(Line(spoilt=row), config(10), out / "spoilt")
    assert found.plan.step == 3 and [part.finite for part in found.parts] == [True, False]
    assert set(found.bad_names) == {f"photo-{row}"}


def test_a_full_disk_of_the_first_process_is_everybodys_error(out):
    for row in results(out):
        assert "step-000000002: not saved (No space left on device)" in row["no_room"]
    assert checkpoint.read_state(checkpoint.latest(out / "no_room")).step == 1
