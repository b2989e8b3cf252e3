"""Stage 1's settings: presets, the second round, places, and what is told of values out of range."""

from math import inf, nan

import pytest
import torch

from adaface.errors import ConfigError
from adaface.recipes.registry import open_recipe, read_config
from adaface.training.config import Layer
from tiny_recipe import small


@pytest.mark.parametrize("name", ["distill-identity", "distill-identity-wide"])
def test_the_presets_are_of_this_recipe(name):
    config = read_config(name)
    assert (config.recipe, config.stack) == ("distill_identity", "mini")


def test_the_second_round_expands_what_the_first_one_gave(tiny_stack, faces, tmp_path):
    first = open_recipe(small(tiny_stack, faces, recipe="distill_identity"), torch.device("cpu"))
    first.export(tmp_path)
    wide = read_config("distill-identity-wide")
    values = {"recipe": wide.recipe, "kv_multipliers": list(wide.kv_multipliers), "kv_noise": wide.kv_noise}
    given = {**values, "init_from": str(tmp_path / "encoder")}
    second = open_recipe(small(tiny_stack, faces, **given), torch.device("cpu"))
    assert second.models.encoder.config.multipliers == (4, 4)
    first.close(), second.close()


def test_a_teacher_s_place_stays_where_it_is_when_a_run_goes_on(tmp_path, monkeypatch):
    from adaface.recipes.config import resolved

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "teacher").mkdir()  # a folder of this name is not the stack's role
    teachers = {"teacher": 1.0, "mine": 2.0, "hub:owner/name": 1.0}
    found = resolved(read_config("distill-identity", Layer("test", {"teachers": teachers}))).teachers
    assert found == {"teacher": 1.0, str(tmp_path / "mine"): 2.0, "hub:owner/name": 1.0}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"templates": ["a photo"]}, "each with one {subject}"),
        ({"templates": ["{subject}, a {wrd}"]}, "of words in braces there are {subject} and {word}"),
        ({"random_share": 1.5}, "random_share=1.5: give numbers from 0 to 1"),
        ({"raised": [0.5, 2]}, "raised=(0.5, 2.0): give numbers from 0 to 1"),
        ({"student_noise": [0.2, 0.1]}, "student_noise=[0.2, 0.1]: give the least and the most"),
        ({"rollout_shares": [1.0]}, "rollout_steps=[1, 3, 5, 7], rollout_shares=[1.0]: give"),
        ({"rollout_steps": [0, 1], "rollout_shares": [1, 1]}, "numbers of steps from 1"),
        ({"rollout_steps": []}, "rollout_steps=[], rollout_shares=[0.4, 0.3, 0.2, 0.1]: give"),
        ({"rollout_shares": [nan, 0, 0, 0]}, "a share from 0 for each"),
        ({"rollout_shares": [inf, 0, 0, 1]}, "a share from 0 for each"),
        ({"max_rollout": 0}, "max_rollout=0: leaves none of rollout_steps=[1, 3, 5, 7]"),
        ({"layer_dirichlet": [0.0]}, "layer_dirichlet=[0.0]"),
        ({"layer_dirichlet": [nan, 1]}, "give numbers above 0"),
        ({"subject_noise": [0, inf]}, "subject_noise=[0.0, inf]: give the least and the most"),
        ({"teachers": {"teacher": -1}}, "teachers={'teacher': -1.0}: give numbers above 0"),
        ({"teachers": {"teacher": inf}}, "give numbers above 0"),
        ({"random_ids": "all"}, "give one of fitted, sphere"),
    ],
)
def test_a_setting_out_of_range_says_what_would_do(settings, wrong, told):
    with pytest.raises(ConfigError) as caught:
        settings(recipe="distill_identity", **wrong)
    assert told in str(caught.value)


def test_a_template_that_is_too_long_is_told_before_the_first_step(opened):
    with pytest.raises(ConfigError, match="text positions of 64"):
        opened(recipe="distill_identity", templates=["a " * 60 + "{subject}"])


def test_more_layer_weights_than_layers_are_told_before_the_first_step(opened):
    with pytest.raises(ConfigError, match=r"layer_dirichlet=.*this text encoder has \d+ layers. Give fewer"):
        opened(recipe="distill_identity", layer_dirichlet=[1] * 60)
