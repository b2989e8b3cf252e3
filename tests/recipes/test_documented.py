"""The recipe that docs/training.md shows is one."""

import re
import sys
from types import ModuleType

import pytest
import torch
from torch.testing import assert_close

from adaface.recipes import registry
from adaface.training.plan import Part, step_generator


@pytest.fixture
def shown(repo, monkeypatch):
    """The module of the page, registered as the page says."""
    page = (repo / "docs" / "training.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    module = ModuleType("shown_recipe")
    monkeypatch.setitem(sys.modules, "shown_recipe", module)
    exec(compile(code, "docs/training.md", "exec"), module.__dict__)
    monkeypatch.setitem(registry.RECIPES, "word_sized", "shown_recipe")
    return module


def test_the_recipe_of_the_page_runs_and_keeps_samples_apart(shown, settings):
    config = settings(recipe="word_sized", size_weight=0.5)
    assert isinstance(config, shown.Config)
    recipe = registry.open_recipe(config, torch.device("cpu"))
    plan = recipe.draw(1, step_generator(0, 1), 0.0)
    whole = recipe.loss(plan, Part())
    parts = [recipe.loss(plan, Part(index, 2)) for index in range(2)]
    assert whole.keys() == {"reconstruct", "size"}
    for name, value in whole.items():
        assert_close(sum(part[name] for part in parts) / 2, value)
    recipe.close()
