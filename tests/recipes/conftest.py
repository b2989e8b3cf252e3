"""A recipe over the tiny stack and a data set of drawn faces."""

import pytest
import torch

from adaface.recipes.registry import open_recipe
from tiny_data import write_tiny_data
from tiny_recipe import small


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """A prepared folder of 4 people with 3 photos each; not to be changed."""
    return write_tiny_data(tmp_path_factory.mktemp("faces") / "data")


@pytest.fixture
def settings(tiny_stack, faces):
    """`settings(batch=2, ...)`: the smoke config, small, over the tiny stack."""

    return lambda **values: small(tiny_stack, faces, **values)


@pytest.fixture
def opened(settings):
    """`opened(batch=2, ...)`: the recipe of such settings, closed when the test ends."""
    made = []

    def make(start=None, **values):
        made.append(open_recipe(settings(**values), torch.device("cpu"), start))
        return made[-1]

    yield make
    for recipe in made:
        recipe.close()
