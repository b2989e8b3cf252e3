"""Which configs there are, and how they are found."""

import pytest

from adaface.errors import ConfigError, MissingFileError
from adaface.recipes.registry import RECIPES, find_config, load_config, presets, read_config
from adaface.training.config import Layer, build, to_plain


@pytest.mark.parametrize("name", presets())
def test_a_preset_names_only_settings_that_there_are(name):
    config = read_config(name)
    assert config.recipe in RECIPES
    assert build(type(config), [Layer("again", to_plain(config))]) == config


def test_stage_2_keeps_no_checkpoint_by_its_validation_which_does_not_see_likeness():
    composed = [config for config in map(read_config, presets()) if config.recipe == "distill_composition"]
    assert len(composed) == 2 and {config.loop.keep_best for config in composed} == {0}


def test_the_smoke_config_comes_with_the_package():
    assert "smoke" in presets()


def test_a_file_is_found_by_its_path(tmp_path):
    (tmp_path / "mine.yaml").write_text("recipe: reconstruct\nbatch: 3\n")
    assert read_config(tmp_path / "mine.yaml").batch == 3


def test_a_preset_is_found_whatever_lies_around(tmp_path, monkeypatch):
    (tmp_path / "smoke").write_text("nothing")
    monkeypatch.chdir(tmp_path)
    assert find_config("smoke").name == "smoke.yaml"


def test_a_recipe_s_name_finds_its_preset():
    assert find_config("distill_identity").name == "distill-identity.yaml"


def test_what_is_neither_names_the_presets():
    with pytest.raises(MissingFileError, match="did you mean smoke"):
        find_config("smok")


@pytest.mark.parametrize(
    ("values", "told"), [({"recipe": "recunstruct"}, "did you mean reconstruct"), ({}, "no such")]
)
def test_an_unknown_recipe_names_the_nearest_one(values, told):
    with pytest.raises(ConfigError, match=told):
        load_config([Layer("mine.yaml", values)])


def test_the_last_recipe_that_is_named_counts():
    layers = [Layer("mine.yaml", {"recipe": "reconstruct"}), Layer("key=value", {"recipe": "other"})]
    with pytest.raises(ConfigError, match='recipe="other"'):
        load_config(layers)
