"""Stage 2 by itself: which steps there are, what has gradients, and that it is the same however it is cut."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from adaface.errors import ConfigError
from adaface.recipes.composition.faces import face_places
from adaface.recipes.composition.grammar import Composition
from adaface.recipes.composition.judge import Verdict
from adaface.recipes.composition.prompts import four_prompts
from adaface.recipes.composition.step import Compose
from adaface.recipes.config import resolved
from adaface.recipes.distill_composition import COMPOSE, DISTILL, KIND, RECONSTRUCT, CompositionStep
from adaface.recipes.registry import open_recipe
from adaface.training.plan import Part, StepPlan, step_generator

ALL = dict(
    words=1.0, features=1.0, face=1.0, background=1.0, matches=1.0, leak=1.0, attention=1.0, norm=1.0,
    outside=1.0, target=1.0, identity=1.0,
)  # fmt: skip
NONE = dict.fromkeys(ALL, 0.0)
MIDDLE = torch.tensor([[22.0, 28.0], [42.0, 28.0], [32.0, 36.0], [25.0, 45.0], [39.0, 45.0]])  # landmarks


@pytest.fixture(autouse=True)
def detector(monkeypatch):
    """The detector finds none in what tiny models draw: a face in the middle of each picture."""
    found = {"rows": None}

    def landmarks_in(pictures):
        rows = torch.arange(len(pictures)) if found["rows"] is None else found["rows"]
        return MIDDLE.expand(len(rows), 5, 2), rows

    monkeypatch.setattr("adaface.recipes.composition.step.landmarks_in", landmarks_in)
    return found


@pytest.fixture(scope="module")
def recipe(settings):
    """A recipe of compositional steps with every term, for tests that change nothing of it."""
    opened = open_recipe(settings(compose={"weights": ALL, "denoising": 2}), torch.device("cpu"))
    yield opened
    opened.close()


def plan_of(recipe, step=1, **coins):
    plan = recipe.draw(step, step_generator(0, step), 0.0)
    return StepPlan(step=plan.step, rows=plan.rows, seeds=plan.seeds, coins={**plan.coins, **coins})


def gradients(recipe, plan, parts=1):
    recipe.models.encoder.zero_grad()
    for index in range(parts):
        (sum(recipe.loss(plan, Part(index, parts)).values()) / parts).backward()
    return torch.cat([p.grad.flatten() for p in recipe.models.encoder.parameters() if p.grad is not None])


@pytest.mark.parametrize(("primed", "denoising"), [(True, 1), (False, 2)])
def test_a_step_is_the_same_in_one_part_or_three_and_trains_the_encoder_alone(recipe, primed, denoising):
    plan = plan_of(recipe, primed=primed, denoising=denoising)
    terms = recipe.loss(plan, Part())
    assert set(terms) == {f"compose_{name}" for name in ALL}
    assert all(value.isfinite() for value in terms.values())
    one, many = gradients(recipe, plan), gradients(recipe, plan, 3)
    assert one.norm() > 0
    assert (many - one).norm() < 1e-3 * one.norm()
    assert [p for part in recipe.frozen.values() for p in part.parameters() if p.grad is not None] == []
    unet = recipe.models.denoiser.unet
    assert sum(len(module._forward_hooks) for module in unet.modules()) == 0


def test_a_plan_read_back_from_json_gives_the_same_terms(recipe):
    plan = plan_of(recipe)
    again = recipe.loss(StepPlan.from_json(plan.to_json()), Part())
    for name, value in recipe.loss(plan, Part()).items():
        assert_close(again[name], value, rtol=0, atol=0)


def test_the_frozen_models_are_named(recipe):
    assert {"anchor", "clip", "recognizer"} <= recipe.frozen.keys()


def test_the_anchor_stays_while_the_encoder_moves(opened):
    recipe = opened(compose={"weights": NONE | {"words": 1.0}, "candidates": 0})
    step = recipe.step.steps[COMPOSE]
    batch = recipe.photos.batch([recipe.photos.read(0, 1)])
    subjects, anchors = step.rows_of(batch)
    assert_close(subjects, anchors)  # at the start
    with torch.no_grad():
        for p in recipe.models.encoder.parameters():
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    moved, anchored = step.rows_of(batch)
    assert_close(anchored, 0.9 * anchors + 0.1 * moved)
    assert (moved - subjects).abs().max() > 0.01


def test_gradients_flow_in_the_composed_branch_alone(recipe, monkeypatch):
    asked = []
    predict = recipe.models.denoiser.predict

    def watched(noisy, timesteps, context):
        asked.append((len(noisy), torch.is_grad_enabled()))
        return predict(noisy, timesteps, context)

    monkeypatch.setattr(recipe.models.denoiser, "predict", watched)
    plan = plan_of(recipe, primed=False, denoising=2)
    recipe.loss(plan, Part())
    count = len(plan.rows)
    assert [size for size, enabled in asked if enabled] == [count, count]
    assert [size for size, enabled in asked if not enabled][-2:] == [3 * count, 3 * count]


def test_samples_whose_teacher_is_no_good_teach_nothing_but_words(opened):
    recipe = opened(compose={"weights": NONE | {"words": 1.0, "target": 1.0}, "level": 3.0})
    terms = recipe.loss(plan_of(recipe), Part())
    assert terms["compose_target"] == 0
    assert terms["compose_words"] > 0
    assert gradients(recipe, plan_of(recipe)).isfinite().all()


def test_where_nobody_teaches_all_that_is_trained_has_a_gradient_of_nothing(opened):
    """Processes that teach wait for the gradients of one that does not."""
    recipe = opened(compose={"weights": NONE | {"target": 1.0, "identity": 1.0}, "level": 3.0})
    terms = recipe.loss(plan_of(recipe), Part())
    assert set(terms) == {"compose_target", "compose_identity"}
    nothing = gradients(recipe, plan_of(recipe))
    taught = gradients(recipe, plan_of(recipe, filtered=False))
    assert len(nothing) == len(taught) and not nothing.any() and taught.any()


def test_words_alone_need_no_picture(opened, monkeypatch):
    recipe = opened(compose={"weights": NONE | {"words": 1.0}})
    monkeypatch.setattr(recipe.models.denoiser, "predict", None)
    monkeypatch.setattr(recipe.models.denoiser, "decode", None)
    assert set(recipe.loss(plan_of(recipe, primed=True), Part())) == {"compose_words"}


def test_a_sample_that_does_not_teach_is_left_out_of_the_work_and_counts_nothing_but_words(
    recipe, monkeypatch
):
    step, asked = recipe.step.steps[COMPOSE], []
    plan = plan_of(recipe, primed=False, denoising=2, filtered=False)
    alone = [
        recipe.loss(replace(plan, rows=(row,), seeds=(seed,)), Part())
        for row, seed in zip(plan.rows, plan.seeds, strict=True)
    ]
    start, predict = step.start, recipe.models.denoiser.predict

    def barred(*given):
        return replace(start(*given), teaches=torch.tensor([True, False, True]))

    def watched(noisy, timesteps, context):
        asked.append(len(noisy))
        return predict(noisy, timesteps, context)

    monkeypatch.setattr(step, "start", barred)
    monkeypatch.setattr(recipe.models.denoiser, "predict", watched)
    made = recipe.loss(plan, Part())
    assert asked == [3 * 2, 2, 3 * 2, 2]  # at each of two steps: three branches, then the person's composed
    for name, value in made.items():
        counting = alone if name == "compose_words" else (alone[0], alone[2])
        wanted = torch.stack([one[name] for one in counting]).sum() / 3
        assert_close(value, wanted, atol=1e-5, rtol=1e-3)


def test_candidates_share_one_drawing_and_differ_by_noise_and_level(recipe, monkeypatch):
    step, drawn, seen = recipe.step.steps[COMPOSE], [], []
    drawing, shown = step.drawing, step.shown
    monkeypatch.setattr(step, "drawing", lambda *given: drawn.append(drawing(*given)) or drawn[-1])
    monkeypatch.setattr(step, "shown", lambda four, one: seen.append(one) or shown(four, one))
    recipe.loss(plan_of(recipe, primed=True), Part())
    assert len(drawn) == 1 and len(seen) == 2
    for one in seen:
        assert_close(one.clean, drawn[0], rtol=0, atol=0)
    assert (seen[0].noise - seen[1].noise).abs().max() > 0.1
    assert seen[0].timesteps.tolist() != seen[1].timesteps.tolist()


@pytest.mark.parametrize(("primed", "levels"), [(True, "levels"), (False, "photo_levels")])
def test_a_drawing_is_noised_less_than_a_photo_so_that_its_layout_stays(recipe, monkeypatch, primed, levels):
    step, started = recipe.step.steps[COMPOSE], []
    start = step.start
    monkeypatch.setattr(step, "start", lambda *given: started.append(start(*given)) or started[-1])
    for number in range(1, 5):
        recipe.loss(plan_of(recipe, number, primed=primed, denoising=1), Part())
    low, high = getattr(step.own, levels)
    shares = torch.cat([one.timesteps for one in started]) / recipe.models.denoiser.steps
    assert low - 0.001 <= shares.min() and shares.max() <= high
    assert max(step.own.levels) <= min(step.own.photo_levels)


def test_validation_composes_from_photos_once_and_bars_nobody(opened):
    """Or else its mean would say which steps were drawn, and how many samples the filter let through."""
    compose = {"weights": NONE | {"target": 1.0}, "level": 3.0, "primed": 1.0, "denoising": 3}
    recipe = opened(compose_every=3, compose=compose, validation=6)
    for step in range(12):
        coins = recipe.draw(-step, step_generator(0, -step), 0.0).coins
        wanted = {KIND: COMPOSE, "primed": False, "denoising": 1, "progress": 0.0, "filtered": False}
        assert coins == wanted
    assert recipe.draw(3, step_generator(0, 3), 0.0).coins["filtered"]
    assert recipe.validate() > 0  # no picture leads by a level of 3


def test_a_sample_without_a_face_is_not_made_the_class_everywhere(recipe, detector):
    plan = plan_of(recipe, denoising=1)
    with_faces = recipe.loss(plan, Part())
    detector["rows"] = torch.zeros(0, dtype=torch.long)
    without = recipe.loss(plan, Part())
    for name in ("target", "face", "background", "features", "outside"):
        assert with_faces[f"compose_{name}"] > 0
        assert without[f"compose_{name}"] == 0
    assert without["compose_identity"] == with_faces["compose_identity"]
    assert without["compose_words"] == with_faces["compose_words"]


class Scores:
    """A judge: composed words read a picture's number, single ones ten times that."""

    def pictures(self, pictures):
        number = pictures.mean((1, 2, 3))
        return torch.stack([number, 10 * number], -1)

    def texts(self, texts):
        return torch.tensor([[0.0, 1.0] if text.startswith("a photo of a") else [1.0, 0.0] for text in texts])


def test_each_sample_begins_with_its_own_best_candidate(recipe, monkeypatch):
    step, judged = recipe.step.steps[COMPOSE], []
    best, teaches = [1, 0, 1], [True, False, True]

    def verdict(*scores, level, margin):
        judged.extend(scores)
        return Verdict(torch.tensor(best), torch.tensor(teaches))

    monkeypatch.setattr("adaface.recipes.composition.step.verdict", verdict)
    monkeypatch.setattr(step, "judge", Scores())
    monkeypatch.setattr(
        step, "shown", lambda four, one: (torch.full((3, 3, 8, 8), 2.0), torch.ones(3, 3, 8, 8))
    )
    plan = plan_of(recipe, primed=False)
    batch = recipe.photos.batch(
        [recipe.photos.read(*pair) for pair in zip(plan.rows, plan.seeds, strict=True)]
    )
    said = [Composition("a photo of {subject}", "a pencil sketch of {subject}", ())] * 3
    with torch.no_grad():
        subjects, anchors = step.rows_of(batch)
        four = four_prompts(step.models.denoiser.prompts, said, batch.words, anchors, subjects)
        start = step.start(plan, batch, said, four)
        tries = [step.candidate(plan, batch, None, which) for which in range(2)]
    for name in ("clean", "noise", "timesteps"):
        wanted = [getattr(tries[which], name)[row] for row, which in enumerate(best)]
        assert_close(getattr(start, name), torch.stack(wanted))
    assert start.teaches.tolist() == teaches
    for scores, wanted in zip(
        judged, (1.0, 10.0, 2.0), strict=True
    ):  # the class's, with plain words, the person's
        assert_close(scores, torch.full((3, 2), wanted))


def test_a_unet_is_recorded_only_where_a_term_needs_its_layers(settings, recipe):
    assert recipe.step.watched
    bare = settings(compose={"weights": NONE | {"words": 1.0}, "candidates": 0})
    assert not CompositionStep(bare, recipe.models, recipe.dataset).watched


def test_the_target_is_what_the_class_says_and_on_the_face_what_the_person_adds(opened, monkeypatch):
    recipe = opened(compose={"weights": NONE | {"target": 2.0}, "candidates": 0, "denoising": 1})
    said = []
    predict = recipe.models.denoiser.predict

    def watched(*given):
        said.append(predict(*given))
        return said[-1]

    monkeypatch.setattr(recipe.models.denoiser, "predict", watched)
    loss = recipe.loss(plan_of(recipe, primed=False), Part())["compose_target"]
    single, class_single, common = said[-2].chunk(3)
    side = (common.shape[-2], common.shape[-1])
    face = face_places(MIDDLE[None], torch.tensor([0]), 1, 64, side)
    assert 0 < face.mean() < 1
    wanted = common + face * (single - class_single)
    assert_close(loss, 2 * (said[-1] - wanted).square().mean())


def test_every_third_step_composes_and_a_fifth_of_the_others_is_of_stage_one(opened):
    recipe = opened(compose_every=3, compose={"weights": NONE | {"words": 1.0}, "candidates": 0})
    kinds = [recipe.draw(step, step_generator(0, step), 0.0).coins[KIND] for step in range(1, 301)]
    assert all((kind == COMPOSE) == (step % 3 == 0) for step, kind in enumerate(kinds, 1))
    assert 0.12 < kinds.count(DISTILL) / 200 < 0.28
    assert kinds.count(RECONSTRUCT) == 200 - kinds.count(DISTILL)
    for kind in (DISTILL, RECONSTRUCT):
        step = kinds.index(kind) + 1
        terms = recipe.loss(plan_of(recipe, step), Part())
        assert list(terms) == [kind] and terms[kind] > 0


def test_each_kind_of_step_has_a_name(recipe):
    made = {recipe.step.kind(plan_of(recipe, primed=primed, denoising=2)) for primed in (True, False)}
    assert made == {"compose, denoising steps: 2", "compose, denoising steps: 2, from a drawing"}


def test_memory_is_counted_as_if_the_filter_barred_nobody(opened):
    strict = opened(compose={"weights": NONE | {"target": 1.0}, "level": 3.0})
    plan = plan_of(strict, denoising=1)
    asked = []
    predict = strict.models.denoiser.predict
    strict.models.denoiser.predict = lambda noisy, *rest: asked.append(len(noisy)) or predict(noisy, *rest)
    dearest = strict.dearest(plan)
    strict.loss(dearest, Part())
    assert asked[-1] == len(plan.rows)  # of gradients; the filter would have barred all
    assert strict.kind(dearest) == strict.kind(plan)


def test_validation_says_the_same_twice(opened):
    recipe = opened(compose={"weights": NONE | {"words": 1.0, "target": 1.0}, "candidates": 0})
    assert recipe.validate() == recipe.validate()


@pytest.mark.slow
def test_some_steps_bring_the_loss_of_the_same_draw_down(opened):
    weights = NONE | {"words": 0.01, "target": 1.0, "face": 0.1, "background": 0.1, "features": 0.1}
    recipe = opened(compose={"weights": weights, "candidates": 0, "denoising": 1})
    before = recipe.validate()
    optimizer = torch.optim.AdamW(recipe.models.encoder.parameters(), 1e-3)
    for step in range(1, 16):
        optimizer.zero_grad()
        sum(recipe.loss(plan_of(recipe, step), Part()).values()).backward()
        optimizer.step()
    assert recipe.validate() < before


# what does not fit


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"compose_every": 0}, "compose_every=0"),
        ({"distill_share": 1.5}, "distill_share=1.5"),
        ({"compose": {"denoising": 4}}, "denoising=4.*1 to 3"),
        ({"compose": {"anchor": 2.0}}, "anchor=2.0: give numbers from 0 to 1"),
        ({"compose": {"levels": [0.6, 0.5]}}, r"levels=\[0.6, 0.5\]: give the least and the most"),
        ({"compose": {"weights": {"words": -1.0}}}, "give numbers from 0, one of them above it"),
        ({"compose": {"weights": {"words": float("nan")}}}, "give numbers from 0, one of them above it"),
        ({"compose": {"weights": NONE}}, "give numbers from 0, one of them above it"),
        ({"compose": {"weights": {"word": 1.0}}}, "did you mean compose.weights.words"),
    ],
)
def test_a_setting_out_of_range_says_what_would_do(settings, wrong, told):
    with pytest.raises(ConfigError, match=told):
        settings(**wrong)


def test_a_filter_without_a_clip_is_told_before_the_first_step(settings, recipe):
    models = recipe.models
    roles = {name: part for name, part in models.stack.roles.items() if name != "clip"}
    bare = replace(models, stack=replace(models.stack, roles=roles))
    with pytest.raises(ConfigError, match='"tiny" has no role "clip".*compose.candidates=0'):
        Compose(settings(), bare, recipe.dataset)


def test_a_recogniser_without_gradients_is_told_before_the_first_step(settings, recipe, monkeypatch):
    monkeypatch.setattr("adaface.recipes.base.likeness.recognizer_name", lambda stack: "arcface")
    with pytest.raises(ConfigError, match='stack "tiny" has "arcface".*compose.weights.identity=0'):
        Compose(settings(), recipe.models, recipe.dataset)


def test_a_grammar_that_is_too_long_is_told_before_the_first_step(opened, tmp_path):
    path = tmp_path / "long.yaml"
    text = 'single: ["{subject}"]\nphrasings: ["{subject}{wear}"]\nparts: {wear: {share: 1, words: ["%s"]}}\n'
    path.write_text(text % ("a red cap " * 20), encoding="utf-8")
    with pytest.raises(ConfigError, match="text positions"):
        opened(compose={"grammar": str(path)})


def test_a_grammar_is_too_long_by_text_positions_not_by_letters(opened, tmp_path):
    path = tmp_path / "long.yaml"
    text = 'single: ["{subject}"]\nphrasings: ["{subject}{wear}"]\nparts: {wear: {share: 1, words: %s}}\n'
    path.write_text(text % ["a " * 48, "wearing sunglasses " * 8], encoding="utf-8")  # 96 and 152 letters
    with pytest.raises(ConfigError, match="text positions"):
        opened(compose={"grammar": str(path)})


def test_a_run_finds_its_grammar_from_any_folder(settings, grammar_file, monkeypatch):
    monkeypatch.chdir(grammar_file.parent)
    assert resolved(settings(compose={"grammar": "tiny.yaml"})).compose.grammar == str(grammar_file.resolve())
    (grammar_file.parent / "mini").mkdir()  # a folder here is none of the package's grammars
    for name in ("stack", "mini", "nothing"):
        assert resolved(settings(compose={"grammar": name})).compose.grammar == name
