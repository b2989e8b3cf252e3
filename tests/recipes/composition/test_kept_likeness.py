"""What stage 2 does for likeness in the steps that do not compose."""

from adaface.recipes.distill_composition import COMPOSE, KIND
from adaface.training.plan import Part, step_generator


def plan_of(recipe, step):
    return recipe.draw(step, step_generator(0, step), 0.0)


def test_likeness_of_a_drawing_counts_in_the_steps_that_do_not_compose(opened, monkeypatch):
    monkeypatch.setattr(
        "adaface.recipes.base.drawn.likeness", lambda _, pictures, *__: pictures.mean((1, 2, 3))
    )
    recipe = opened(compose_every=3, distill_share=0.5, likeness_weight=1.0, likeness_share=1.0)
    for step in range(1, 8):
        plan = plan_of(recipe, step)
        terms, composes = recipe.loss(plan, Part()), plan.coins[KIND] == COMPOSE
        assert ("likeness" in terms) != composes
        assert ("likeness of a drawing" in recipe.kind(plan)) != composes
