"""Cached latents of a stack's VAE in place of pictures."""

import pytest
import torch

from adaface.errors import ConfigError, MissingFileError
from adaface.recipes.base.latents import encode_dataset, resized
from adaface.recipes.registry import open_recipe
from adaface.training.plan import Part, step_generator
from tiny import write_tiny_stack
from tiny_data import write_tiny_data
from tiny_recipe import small


@pytest.fixture(scope="module")
def encoded(tiny_stack, tmp_path_factory):
    """A data set of larger pictures, with two latents of each."""
    folder = write_tiny_data(tmp_path_factory.mktemp("encoded") / "data", size=96)
    encode_dataset(folder, tiny_stack, count=2, device="cpu")
    return folder


def test_cached_latents_are_taken_where_they_are(tiny_stack, encoded):
    recipe = open_recipe(small(tiny_stack, encoded), torch.device("cpu"))
    drawn = recipe.photos.read(3, 9)
    assert drawn.picture is None
    assert drawn.latent.shape == (16, 8, 8)
    assert drawn.weight.shape == (1, 8, 8)
    assert recipe.about()["latents"] == "cached"
    plan = recipe.draw(1, step_generator(0, 1), 0.0)
    assert recipe.loss(plan, Part())["reconstruct"].isfinite()
    recipe.close()


def test_encoding_on_the_fly_can_be_asked_for(tiny_stack, encoded):
    recipe = open_recipe(small(tiny_stack, encoded, latents="fly"), torch.device("cpu"))
    assert recipe.photos.read(3, 9).latent is None
    recipe.close()


def test_latents_of_another_vae_are_refused(encoded, tmp_path):
    other = write_tiny_stack(tmp_path / "other", seed=5)
    with pytest.raises(ConfigError, match="of another VAE than this stack's. Give latents=fly"):
        open_recipe(small(other, encoded), torch.device("cpu"))


def test_latents_that_are_asked_for_and_not_there_are_told(tiny_stack, faces):
    with pytest.raises(MissingFileError, match="no latents"):
        open_recipe(small(tiny_stack, faces, latents="cached"), torch.device("cpu"))


def test_a_picture_of_the_right_size_stays_as_it_is():
    picture = torch.randint(256, (1, 3, 8, 8), dtype=torch.uint8)
    assert resized(picture, 8) is picture


def test_a_picture_keeps_its_type_and_its_mean_when_it_is_made_smaller():
    picture = torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8)
    small_one = resized(picture, 16)
    assert small_one.dtype == torch.uint8
    assert abs(small_one.float().mean() - picture.float().mean()) < 2
