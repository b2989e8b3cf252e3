"""The reported runs on Stable Diffusion 1.5: their numbers, and two steps of each over tiny parts."""

import importlib.util
import json
from importlib.resources import files

import pytest

from adaface.encoder.inverse import AdaFaceEncoder
from adaface.recipes.estimate import estimate
from adaface.recipes.registry import presets, read_config
from adaface.recipes.run import train
from adaface.training.config import Layer
from adaface.training.distributed import ONE
from adaface.training.optim import rate_factor

RUNS = ("sd15/identity", "sd15/identity-wide", "sd15/composition")


@pytest.fixture(scope="session")
def parts(repo, tmp_path_factory):
    """A stack of SD-1.5's blocks, tokenizer and schedule with a teacher and a CLIP, and a data set."""
    spec = importlib.util.spec_from_file_location("shapes", repo / "benchmarks" / "train_steps" / "shapes.py")
    shapes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shapes)
    folder, tiny = tmp_path_factory.mktemp("sd15"), shapes.SHAPES["tiny"]
    shapes.write_stack(folder / "stack", tiny)
    shapes.write_photos(folder / "faces", tiny, rows=4)
    return folder


@pytest.fixture
def small(parts):
    """`small(preset, ...)`: a reported run, cut to two steps of two photos over the tiny parts."""

    def config(preset, loop=None, **values):
        given = {
            "stack": str(parts / "stack"),
            "data": str(parts / "faces"),
            "device": "cpu",
            "frozen": "fp32",
        }
        own = {"steps": 2, "save_steps": 2, "log_steps": 1, "precision": "fp32", "accumulate": 2}
        own |= {"schedule": {"warmup_steps": 1}, **(loop or {})}
        short = {"people": 1, "steps": 1, "prompts": ["a photo of <person>"]}
        more = {"batch": 2, "validation": 2, "tensorboard": False, "samples": short, "loop": own}
        return read_config(preset, Layer("test", {**given, **more, **values}))

    return config


def test_the_reported_runs_come_with_the_package():
    assert set(RUNS) <= set(presets())


@pytest.mark.parametrize("preset", RUNS)
def test_the_optimiser_is_the_reported_one(preset):
    loop = read_config(preset).loop
    optimizer = loop.optimizer
    assert (optimizer.name, optimizer.rate, optimizer.weight_decay) == ("prodigy", 1.0, 0.0)
    assert (optimizer.betas, loop.max_grad_norm, loop.ema_decay) == ((0.9, 0.999), 0.5, 0.0)
    assert optimizer.d_coef == (0.5 if preset == "sd15/composition" else 1.0)


@pytest.mark.parametrize(
    ("preset", "batches", "photos"),
    [("sd15/identity", 120_000, 4), ("sd15/identity-wide", 120_000, 4), ("sd15/composition", 60_000, 3)],
)
def test_a_run_sees_as_many_photos_as_reported(preset, batches, photos):
    """Batches of so many photos on each of two GPUs, two of them an update."""
    config = read_config(preset)
    assert config.loop.steps * 2 == batches
    assert config.batch == photos * 2 * 2
    assert config.loop.accumulate == 2


@pytest.mark.parametrize("preset", RUNS)
def test_the_rate_falls_from_1_to_a_tenth_in_steps_of_the_optimiser(preset):
    loop = read_config(preset).loop
    ends = [rate_factor(loop.schedule, step, loop.steps, step / loop.steps) for step in (0, loop.steps)]
    assert ends == pytest.approx([1.0, 0.1])


def test_the_second_round_has_four_keys_and_values_a_token():
    first, second = (read_config(run) for run in RUNS[:2])
    assert (first.kv_multipliers, second.kv_multipliers) == ((), (4,))


@pytest.mark.parametrize("preset", RUNS)
def test_a_reported_run_s_comment_says_how_to_begin_it(preset):
    text = (files("adaface.recipes") / "configs" / f"{preset}.yaml").read_text()
    assert f"adaface train {preset} --data FACES" in text


@pytest.mark.slow
def test_each_reported_run_does_two_steps_on_tiny_parts_from_the_one_before(small, tmp_path):
    start = None
    for preset in RUNS:
        more = {"compose_every": 2} if preset == "sd15/composition" else {}
        config = small(preset, **({"init_from": str(start)} if start else {}), **more)
        run = tmp_path / preset.replace("/", "-")
        assert train(config, run, ONE).finished
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        steps = [row for row in rows if "grad_norm" in row]
        assert [row["step"] for row in steps] == [1, 2]
        assert all(row["grad_norm"] > 0 for row in steps)
        assert (run / "samples" / "step-000000002.png").is_file()
        start = run
    wide = AdaFaceEncoder.from_pretrained(start / "encoder")
    assert wide.config.multipliers == (4, 4, 4), "stage 2 keeps what the second round has"
    assert wide.config.num_id_vectors == 16


@pytest.mark.slow
def test_a_dry_run_tells_memory_and_time_of_each_kind_of_step(small):
    simple = {"max_rollout": 1, "compose": {"denoising": 1}}
    found = estimate(small("sd15/composition", loop={"steps": 300}, **simple), ONE)
    names = " ".join(kind.name for kind in found.kinds)
    assert all(word in names for word in ("compose", "distill", "reconstruct"))
    assert sum(kind.share for kind in found.kinds) == pytest.approx(1)
    assert found.memory.activations >= max(kind.activations for kind in found.kinds)
    composed = sum(kind.share for kind in found.kinds if "compose" in kind.name)
    assert composed == pytest.approx(1 / 3, abs=0.1)
    assert found.seconds_a_step == pytest.approx(sum(kind.share * kind.seconds for kind in found.kinds))
    assert "% compose" in found.lines()[-1]
