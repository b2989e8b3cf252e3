"""Stage 1 as a recipe: its coins, what teacher and student are shown, what is trained."""

import dataclasses
from collections import Counter

import pytest
import torch
from torch.testing import assert_close

from adaface.recipes.registry import open_recipe
from adaface.training.plan import Part, step_generator
from tiny_recipe import small

KINDS = {
    "random": {"random_share": 1.0},
    "near": {"random_share": 0.0, "near_share": 1.0},
    "real": {"random_share": 0.0, "near_share": 0.0, "teacher_share": 1.0},
    "true noise": {"random_share": 0.0, "near_share": 0.0, "teacher_share": 0.0},
}
PLAIN = {"raised": [0, 0], "student_noise_share": 0, "subject_noise_share": 0, "id_noise_share": 0}


@pytest.fixture(scope="module")
def shared(tiny_stack, faces):
    """`shared("near", rollout_steps=[3], ...)`: recipes of such settings over models that are opened once."""
    from adaface.recipes.base.recipe import PhotoRecipe
    from adaface.recipes.distill_identity import IdentityStep

    first = open_recipe(small(tiny_stack, faces, recipe="distill_identity"), torch.device("cpu"))
    made = [first]

    def make(kind="real", **values):
        config = small(tiny_stack, faces, recipe="distill_identity", **{"batch": 2, **KINDS[kind], **values})
        made.append(PhotoRecipe(config, IdentityStep, first.models, first.dataset))
        return made[-1]

    yield make
    for recipe in made:
        recipe.close()


def plan_of(recipe, step=1, share=0.0):
    return recipe.draw(step, step_generator(0, step), share)


def batch_of(recipe, plan):
    return recipe.photos.batch(
        [recipe.photos.read(*pair) for pair in zip(plan.rows, plan.seeds, strict=True)]
    )


def loss_of(recipe, plan=None, part=None):
    return recipe.loss(plan or plan_of(recipe), part or Part())["distill"]


def coins(recipe, count=2000, share=0.0):
    return [recipe.step.coins(k, step_generator(0, k), share) for k in range(1, count + 1)]


def share_of(found, **wanted):
    return sum(all(coin[k] == v for k, v in wanted.items()) for coin in found) / len(found)


# coins


def test_the_kinds_of_people_come_as_often_as_the_method_says(shared):
    recipe = shared("real", random_share=0.4, near_share=0.6, teacher_share=0.5)
    found = coins(recipe)
    assert abs(share_of(found, kind="random") - 0.4) < 0.04
    assert abs(share_of(found, kind="near") - 0.36) < 0.04
    assert abs(share_of(found, kind="real", teacher=True) - 0.12) < 0.03
    assert abs(share_of(found, kind="real", teacher=False) - 0.12) < 0.03


def test_the_teacher_takes_one_to_seven_steps_as_often_as_the_method_says(shared):
    found = coins(shared("near"))
    for steps, share in ((1, 0.4), (3, 0.3), (5, 0.2), (7, 0.1)):
        assert abs(share_of(found, rollout=steps) - share) < 0.04


def test_fewer_steps_at_most_share_out_what_is_left(shared):
    found = coins(shared("near", max_rollout=3))
    assert {coin["rollout"] for coin in found} == {1, 3}
    assert abs(share_of(found, rollout=1) - 4 / 7) < 0.04


def test_true_noise_takes_one_step(shared):
    assert {coin["rollout"] for coin in coins(shared("true noise"), 200)} == {1}


def test_noise_levels_are_raised_more_often_as_the_run_goes_on(shared):
    recipe = shared()
    told = [coins(recipe, 1, share)[0]["raised"] for share in (0.0, 0.5, 1.0)]
    assert told == pytest.approx([0.6, 0.7, 0.8])


def test_layer_weights_are_the_stack_s_own_unless_they_are_to_be_drawn(shared):
    assert coins(shared(), 3)[0]["layers"] == []
    drawn = torch.tensor([coin["layers"] for coin in coins(shared(layer_dirichlet=[1, 3]))])
    assert_close(drawn.sum(-1), torch.ones(2000))
    assert_close(drawn.mean(0), torch.tensor([0.25, 0.75]), rtol=0, atol=0.03)
    assert drawn.std(0).min() > 0.1


def test_every_template_comes(shared):
    recipe = shared()
    assert Counter(coin["template"] for coin in coins(recipe, 300)).keys() == set(
        range(len(recipe.config.templates))
    )


def test_validation_asks_the_teacher_about_photos_once(shared):
    recipe = shared("random", rollout_steps=[7], rollout_shares=[1])
    told = [recipe.step.coins(-k, step_generator(0, -k), 0.0) for k in range(20)]
    assert {(coin["kind"], coin["teacher"], coin["rollout"]) for coin in told} == {("real", True, 1)}


def test_the_kind_of_a_step_is_its_number_of_denoising_steps(shared):
    recipe = shared("near", rollout_steps=[3], rollout_shares=[1])
    assert recipe.kind(plan_of(recipe)) == "denoising steps: 3"


# who


def test_near_duplicates_are_one_photo_with_a_face_of_its_own_each(shared):
    recipe = shared("near", batch=3)
    plan = plan_of(recipe)
    assert len(set(plan.rows)) == 1
    theirs, ours = recipe.step.faces(plan.coins, batch_of(recipe, plan))
    assert_close(theirs, ours)
    assert_close(theirs.norm(dim=-1), torch.ones(3))
    apart = torch.cdist(theirs, theirs)[0, 1:]
    assert apart.min() > 0.01 and apart.max() < 0.12


def test_other_steps_see_the_photos_that_were_drawn(shared):
    plan = plan_of(shared("real", batch=6))
    assert len(set(plan.rows)) > 1


def test_real_people_are_a_little_off_for_the_student_alone(shared):
    recipe = shared("real", student_noise_share=1.0)
    plan = plan_of(recipe)
    batch = batch_of(recipe, plan)
    theirs, ours = recipe.step.faces(plan.coins, batch)
    assert_close(theirs, batch.faces, rtol=0, atol=0)
    assert (ours - theirs).norm(dim=-1).min() > 0.005 and (ours - theirs).norm(dim=-1).max() < 0.03


def test_random_people_are_nobody_of_the_data_and_no_photo_is_encoded(shared, monkeypatch):
    recipe = shared("random", **PLAIN)
    plan = plan_of(recipe)
    monkeypatch.setattr(recipe.models.denoiser, "encode", None)
    batch = batch_of(recipe, plan)
    theirs, _ = recipe.step.faces(plan.coins, batch)
    assert_close(theirs.norm(dim=-1), torch.ones(2))
    assert (theirs @ batch.faces.T).max() < 0.95
    assert loss_of(recipe, plan).isfinite()


def test_random_people_are_of_the_distribution_that_is_named(shared):
    """The few faces of the data span few directions; the sphere has all of them."""
    found = {kind: shared("random", random_ids=kind).step.people for kind in ("fitted", "sphere")}
    assert found["sphere"].mean.norm() == 0 and len(found["sphere"].directions) == 128
    assert found["fitted"].mean.norm() > 0 and len(found["fitted"].directions) < 128


def test_random_people_begin_with_pure_noise_that_is_not_the_noise_put_on_it(shared):
    recipe = shared("random")
    plan = plan_of(recipe)
    batch = batch_of(recipe, plan)
    clean, weight = recipe.step.shown(plan.coins, batch)
    assert_close(clean.std(), torch.tensor(1.0), rtol=0, atol=0.1)
    assert torch.corrcoef(torch.stack([clean.flatten(), batch.noise.flatten()]))[0, 1].abs() < 0.1
    assert (weight == 1).all()


# what the student reads, and at which noise levels


def told(recipe, monkeypatch, **coins):
    """What the prompts were asked for in a step: texts, rows, layer weights."""
    plan, asked = plan_of(recipe), []
    batch = batch_of(recipe, plan)
    prompts = lambda *given: asked.append(given) or torch.zeros(2, 1, 1)  # noqa: E731
    monkeypatch.setattr(recipe.models.denoiser, "prompts", prompts)
    rows = torch.randn(2, 16, 128, generator=torch.Generator().manual_seed(0))
    recipe.step.context({**plan.coins, **coins}, batch, rows)
    return batch, rows, asked[0]


@pytest.mark.parametrize("kind", ["random", "real"])
def test_people_who_do_not_exist_are_called_persons_and_others_by_their_word(shared, monkeypatch, kind):
    recipe = shared(kind, templates=["{subject}, a {word}"])
    batch, _, (texts, _, _) = told(recipe, monkeypatch)
    words = ["person"] * 2 if kind == "random" else batch.words
    assert texts == [f"{{subject}}, a {word}" for word in words]


def test_the_student_s_rows_are_blurred_a_little(shared, monkeypatch):
    _, rows, (_, blurred, _) = told(shared("real", subject_noise_share=1.0), monkeypatch)
    moved = (blurred - rows).norm(dim=-1) / rows.norm(dim=-1)
    assert moved.min() > 0.01 and moved.max() < 0.06


def test_the_layer_weights_are_the_step_s(shared, monkeypatch):
    assert told(shared("real"), monkeypatch, layers=[0.2, 0.8])[2][2] == [0.2, 0.8]


@pytest.mark.parametrize("steps", [1, 3])
def test_a_step_begins_at_raised_noise_levels_and_many_steps_at_higher_ones(shared, steps):
    recipe = shared("real", batch=2)
    plan = plan_of(recipe)
    batch = dataclasses.replace(batch_of(recipe, plan), timesteps=torch.tensor([100, 500]))
    even, higher = (recipe.step.start({"raised": share}, batch, steps) for share in (0.0, 1.0))
    assert even.timesteps.tolist() == ([100, 500] if steps == 1 else [400, 666])
    assert (higher.timesteps > even.timesteps).all()
    assert (higher.timesteps <= (torch.tensor([130, 650]) if steps == 1 else 767)).all()
    assert even.noise is batch.noise


# what counts


def test_a_teacher_is_not_asked_about_the_background(shared):
    recipe = shared("real")
    plan = plan_of(recipe)
    batch = batch_of(recipe, plan)
    _, weight = recipe.step.shown(plan.coins, batch)
    assert_close(weight, batch.foreground)
    assert weight.min() == 0 and weight.max() == 1


def test_with_true_noise_the_background_counts_a_little(shared):
    recipe = shared("true noise", background_weight=0.1, scale=[1.0, 1.0])
    plan = plan_of(recipe)
    _, weight = recipe.step.shown(plan.coins, batch_of(recipe, plan))
    assert_close(weight.min(), torch.tensor(0.1))


@pytest.mark.parametrize("kind", ["near", "true noise"])
def test_without_masks_all_of_the_photo_counts_alike(shared, kind):
    recipe = shared(kind, masks=False, scale=[1.0, 1.0])
    plan = plan_of(recipe)
    _, weight = recipe.step.shown(plan.coins, batch_of(recipe, plan))
    assert (weight == 1).all()


def test_with_true_noise_alone_it_is_masked_reconstruction(shared, tiny_stack, faces):
    recipe = shared("true noise", **PLAIN)
    plain = open_recipe(small(tiny_stack, faces, batch=2, id_noise_share=0), torch.device("cpu"))
    plan = plan_of(recipe)
    same = dataclasses.replace(plan, coins={"template": plan.coins["template"]})
    assert_close(loss_of(recipe, plan), plain.loss(same, Part())["reconstruct"])
    plain.close()


# teacher and student


def test_the_teachers_are_those_that_are_named(shared, tmp_path):
    shared().models.denoiser.unet.save_pretrained(tmp_path / "own")
    teacher = shared("real", teachers={"teacher": 1.0, str(tmp_path / "own"): 3.0}).step.teacher
    assert teacher.weights == (0.25, 0.75)


def test_the_student_is_asked_about_what_the_teacher_was_shown_at_every_step(shared, monkeypatch):
    recipe = shared("real", rollout_steps=[3], rollout_shares=[1])
    step, denoiser = recipe.step, recipe.models.denoiser
    about, predict, seen, asked = step.teacher.about, denoiser.predict, [], []

    def watched(ids):
        say = about(ids)
        return lambda noisy, times: seen.append((noisy.clone(), times.clone())) or say(noisy, times)

    def student(noisy, times, context):
        asked.append((noisy.clone(), times.clone()))
        return predict(noisy, times, context)

    monkeypatch.setattr(step.teacher, "about", watched)
    monkeypatch.setattr(denoiser, "predict", student)
    loss_of(recipe)
    assert [len(noisy) for noisy, _ in seen] == [2, 2, 2]  # all of the batch, whatever the steps
    assert_close(asked, seen, rtol=0, atol=0)
    assert not torch.equal(seen[0][0], seen[1][0])


def test_a_step_begins_with_what_the_teacher_saw_in_the_last_one(shared, monkeypatch):
    """A teacher that sees nothing anywhere: of the photo, nothing is left from the second step on."""
    recipe = shared("real", rollout_steps=[3], rollout_shares=[1])
    step, denoiser = recipe.step, recipe.models.denoiser
    seen = []

    def nothing(noisy, times):
        seen.append(noisy)
        rest = (1 - denoiser.alphas[times]).sqrt()[:, None, None, None]
        return denoiser.target(torch.zeros_like(noisy), noisy / rest, times)

    monkeypatch.setattr(step.teacher, "about", lambda ids: nothing)
    monkeypatch.setattr(step, "error", lambda *given: given[-1].sum() * 0)
    plan = plan_of(recipe)
    batch = batch_of(recipe, plan)
    step(plan, batch)
    step(plan, dataclasses.replace(batch, encode=lambda: batch.noise + 1))
    assert (seen[0] - seen[3]).abs().max() > 0.1
    assert_close(seen[1:3], seen[4:6], rtol=1e-3, atol=1e-3)


def test_a_student_that_reads_the_teacher_s_context_makes_no_error(shared, monkeypatch):
    recipe = shared("real", rollout_steps=[3], rollout_shares=[1])
    step, models = recipe.step, recipe.models
    theirs = []
    faces = step.faces
    monkeypatch.setattr(step, "faces", lambda *given: theirs.append(faces(*given)) or theirs[-1])
    monkeypatch.setattr(step, "context", lambda *given: models.prompter.context(theirs[-1][0]))
    assert loss_of(recipe).item() < 1e-10


def test_many_steps_weigh_by_the_root_of_their_number(shared, monkeypatch):
    recipe = shared("real", rollout_steps=[5], rollout_shares=[1])
    monkeypatch.setattr(recipe.step, "error", lambda *given: given[-1].sum() * 0 + 1.0)
    assert float(loss_of(recipe).detach()) == pytest.approx(5 / 5**0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_parts_are_those_of_the_whole_batch(shared, kind):
    recipe = shared(kind, batch=4, rollout_steps=[3], rollout_shares=[1])
    plan = plan_of(recipe)

    def gradients(parts):
        recipe.models.encoder.zero_grad()
        for index in range(parts):
            (loss_of(recipe, plan, Part(index, parts)) / parts).backward()
        return torch.cat([p.grad.flatten() for p in recipe.models.encoder.parameters() if p.grad is not None])

    one, many = gradients(1), gradients(4)
    assert one.norm() > 0
    assert (many - one).norm() < 1e-5 * one.norm()


def test_only_the_encoder_gets_gradients_and_all_of_it_does(shared):
    recipe = shared("near", rollout_steps=[3], rollout_shares=[1])
    recipe.models.encoder.zero_grad()
    loss_of(recipe).backward()
    assert all(p.grad is not None and p.grad.norm() > 0 for p in recipe.models.encoder.layers.parameters())
    assert [p for part in recipe.frozen.values() for p in part.parameters() if p.grad is not None] == []


def test_drawn_layer_weights_change_what_the_student_reads(shared):
    recipe = shared("real", layer_dirichlet=[1, 2])
    plan = plan_of(recipe)
    other = dataclasses.replace(plan, coins={**plan.coins, "layers": [1.0, 0.0]})
    assert loss_of(recipe, plan).item() != loss_of(recipe, other).item()


def test_some_steps_bring_the_loss_of_the_same_draw_down(opened):
    recipe = opened(recipe="distill_identity", init_from="none", max_rollout=1, validation=8)
    before = recipe.validate()
    optimizer = torch.optim.AdamW(recipe.models.encoder.parameters(), 1e-3)
    for step in range(1, 9):
        optimizer.zero_grad()
        loss_of(recipe, plan_of(recipe, step)).backward()
        optimizer.step()
    assert recipe.validate() < before
