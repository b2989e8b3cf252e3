"""Settings and guidance."""

import math

import pytest

from adaface.errors import ConfigError
from adaface.pipelines.guidance import guidance_at, linear_guidance
from adaface.pipelines.settings import Settings, check_seeds


def test_the_defaults_are_those_of_the_original_evaluation():
    settings = Settings()
    assert (settings.steps, settings.guidance_scale, settings.layer_weights) == (50, (4.0, 1.0), (1.0, 1.0))
    assert settings.negative_prompt


def test_given_values_win():
    settings = Settings.from_mapping({"steps": 20, "guidance_scale": [3, 2]}).override({"steps": 5})
    assert (settings.steps, settings.guidance_scale, settings.id_scale) == (5, (3, 2), 1.0)


def test_settings_survive_json():
    settings = Settings(steps=7, layer_weights=(1.0,), negative_prompt=None)
    assert Settings.from_mapping(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "steps=0: give a whole number from 1 to 1000"),
        ({"steps": -3}, "steps=-3"),
        ({"steps": 2.5}, "steps=2.5"),
        ({"steps": True}, "steps=True"),
        ({"guidance_scale": (math.nan, 1)}, "guidance_scale=.nan, 1.: give two numbers from 1 to 100"),
        ({"guidance_scale": (math.inf, 1)}, "guidance_scale"),
        ({"guidance_scale": (4, 0.5)}, "guidance_scale"),
        ({"guidance_scale": (4,)}, "guidance_scale"),
        ({"guidance_scale": "41"}, "guidance_scale"),
        ({"id_scale": -1}, "id_scale=-1: give a number from 0"),
        ({"id_scale": math.nan}, "id_scale=nan"),
        ({"layer_weights": ()}, "layer_weights"),
        ({"layer_weights": (0, 0)}, "not all 0"),
        ({"layer_weights": (1, -1)}, "layer_weights"),
        ({"layer_weights": (1, math.inf)}, "layer_weights"),
        ({"negative_prompt": 3}, "negative_prompt=3: give a text"),
        ({"height": 60}, "height=60: give a multiple of 8"),
        ({"width": 0}, "width=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"guidance": (4, 1)}, 'unknown setting "guidance"; did you mean "guidance_scale"'),
        ({"zzz": 1}, 'unknown setting "zzz"; known: steps'),
    ],
)
def test_a_value_out_of_range_is_told_with_the_range(values, message):
    with pytest.raises(ConfigError, match=message):
        Settings.from_mapping(values)


def test_picture_k_has_the_seed_plus_k():
    assert list(check_seeds(7, 3)) == [7, 8, 9]


@pytest.mark.parametrize(("seed", "count"), [(-1, 1), (0, 0), (2**63 - 1, 4), (0.5, 1)])
def test_seeds_out_of_range_are_told(seed, count):
    with pytest.raises(ConfigError, match="give a whole number"):
        check_seeds(seed, count)


def test_guidance_goes_linearly_from_first_to_last_step():
    assert [guidance_at(i, 4, (4.0, 1.0)) for i in range(4)] == [4.0, 3.0, 2.0, 1.0 + 1e-6]


def test_guidance_may_rise_from_one():
    assert [guidance_at(i, 3, (1.0, 3.0)) for i in range(3)] == [1.0 + 1e-6, 2.0, 3.0]


def test_one_step_has_the_first_scale():
    assert guidance_at(0, 1, (4.0, 1.0)) == 4.0


def test_the_callback_sets_the_scale_of_the_next_step_and_returns_its_tensors():
    class Pipe:
        num_timesteps = 3
        _guidance_scale = 3.0

    pipe, tensors, told = Pipe(), {"latents": 1}, []
    callback = linear_guidance((3.0, 1.0), told.append)
    seen = []
    for step in range(3):
        assert callback(pipe, step, None, tensors) is tensors
        seen.append(pipe._guidance_scale)
    assert seen == [2.0, 1.0 + 1e-6, 1.0 + 1e-6]
    assert told == [1, 2, 3]
