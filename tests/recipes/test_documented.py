"""docs/training.md: the recipe that it shows is one, and it says what each term of stage 2 is."""

import re
import sys
from dataclasses import fields
from types import ModuleType

import pytest
import torch
from torch.testing import assert_close

from adaface.encoder.inverse import AdaFaceEncoder
from adaface.recipes import registry
from adaface.recipes.composition.config import Weights
from adaface.recipes.run import replay, train
from adaface.training.distributed import ONE
from adaface.training.plan import Part, step_generator


@pytest.fixture
def shown(repo, monkeypatch):
    """The module of the page, registered as the page says."""
    page = (repo / "docs" / "training.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    module = ModuleType("shown_recipe")
    monkeypatch.setitem(sys.modules, "shown_recipe", module)
    exec(compile(code, "docs/training.md", "exec"), module.__dict__)
    monkeypatch.setitem(registry.RECIPES, "agree", "shown_recipe")
    return module


def test_the_recipe_of_the_page_runs_and_keeps_samples_apart(shown, settings):
    config = settings(recipe="agree", agree_weight=0.5)
    assert isinstance(config, shown.Config)
    recipe = registry.open_recipe(config, torch.device("cpu"))
    plan = recipe.draw(1, step_generator(0, 1), 0.0)
    whole = recipe.loss(plan, Part())
    parts = [recipe.loss(plan, Part(index, 2)) for index in range(2)]
    assert whole.keys() == {"reconstruct", "agree"}
    for name, value in whole.items():
        assert_close(sum(part[name] for part in parts) / 2, value)
    recipe.close()


def test_the_recipe_of_the_page_trains_draws_and_leaves_an_encoder(shown, settings, tmp_path):
    config = settings(recipe="agree", loop={"steps": 2, "save_steps": 2, "schedule": {"warmup_steps": 0}})
    run = tmp_path / "run"
    assert train(config, run, ONE).finished
    assert AdaFaceEncoder.from_pretrained(run / "encoder").config.recognizer == "sface"
    assert (run / "samples" / "step-000000002.png").is_file()
    assert replay(run, 2, ONE).parts[0].terms.keys() == {"reconstruct", "agree"}


def test_the_page_has_a_section_for_each_recipe_and_a_row_for_each_term_of_stage_2(repo):
    page = (repo / "docs" / "training.md").read_text(encoding="utf-8")
    headings = " ".join(re.findall(r"^## .*", page, re.MULTILINE))
    assert all(re.search(rf"\b{recipe}`", headings) for recipe in registry.RECIPES)
    section = page.partition("## Stage 2")[2].partition("\n## ")[0]
    rows = "\n".join(re.findall(r"^\|(.*?)\|", section, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", rows)) == {term.name for term in fields(Weights)}
    assert "compose.grammar" in section
