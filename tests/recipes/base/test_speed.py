"""UNets in forms that GPUs like."""

import pytest
import torch
from torch.testing import assert_close

from adaface.errors import ConfigError
from adaface.recipes.base.models import quicken
from adaface.training.plan import Part, step_generator


def loss(recipe):
    """The first step's."""
    plan = recipe.draw(1, step_generator(0, 1), 0.0)
    return sum(recipe.loss(plan, Part()).values())


def test_channels_last_says_what_plain_says(opened):
    plain, last = opened(batch=2), opened(batch=2, unets="channels_last")
    weight = last.frozen["unet"].conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not plain.frozen["unet"].conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert_close(loss(last), loss(plain), rtol=1e-4, atol=1e-5)


def test_unets_alone_are_compiled_and_only_where_it_is_wished(opened):
    models, compiled = opened(batch=2).frozen, []
    for name, model in models.items():
        model.compile = lambda name=name: compiled.append(name)
    for wanted, found in (("plain", []), ("channels_last", []), ("compiled", ["unet"])):
        quicken(models.values(), wanted, watched=False)
        assert compiled == found


def test_a_compiled_unet_cannot_be_watched():
    with pytest.raises(ConfigError, match="unets=compiled: .*Give unets=channels_last"):
        quicken([], "compiled", watched=True)
