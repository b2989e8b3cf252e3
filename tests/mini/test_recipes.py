"""What the recipes make of words, subjects and pictures, on the smoke build."""

import dataclasses
import weakref

import pytest
import torch
from torch.testing import assert_close

from adaface.mini import models
from adaface.mini.config import PRESETS, preset
from adaface.mini.recipes.base import between
from adaface.mini.recipes.clip import ClipConfig, ClipRecipe
from adaface.mini.recipes.encoder import FILL, TEMPLATES, EncoderRecipe, WordsRecipe
from adaface.mini.recipes.latents import LatentSet, World, cache
from adaface.mini.recipes.vae import VaeRecipe
from adaface.mini.world.look import CODES, GROUPS, look_words
from adaface.mini.world.segment import Segmenter


@pytest.fixture(scope="module")
def base(smoke_build):
    return smoke_build.base_recipe()


def drawn_embeds(base, texts):
    ids = base.token_ids(texts)
    return base.encoder.embed_tokens(ids).detach(), ids


def test_soft_look_words_are_convex_mixes_and_nothing_else_changes(base):
    words = [look_words()[g * CODES + 3] for g in range(GROUPS)]
    texts = [f"a photo of {' '.join(words)} person", "a photo of a person", f"a photo of a {words[2]} man"]
    embeds, ids = drawn_embeds(base, texts)
    distances = base.looks.distances(base.data.ids[:3])
    with torch.no_grad():
        mixed = base.soften(embeds, ids, distances, torch.tensor([True, True, True]))
        kept = base.soften(embeds, ids, distances, torch.tensor([False, False, False]))
        table = base.encoder.embed_tokens(base.look_ids).view(GROUPS, CODES, -1)
    assert torch.equal(kept, embeds)
    changed = (mixed != embeds).any(-1)
    assert torch.equal(changed, torch.isin(ids, base.look_ids))
    for group, row in enumerate(mixed[0][changed[0]]):
        shares = torch.linalg.lstsq(table[group].T.double(), row[:, None].double()).solution[:, 0]
        assert_close(table[group].T.double() @ shares, row.double(), atol=1e-5, rtol=0)
        assert shares.min() > -1e-3 and abs(float(shares.sum()) - 1) < 1e-3
        assert int(shares.argmax()) == int(distances[0, group].argmin())


def test_look_words_start_as_their_people_padded_with_zeros(base):
    width = base.encoder.width
    rows = base.looks.token_rows(width, scale=1.0).view(GROUPS, CODES, width)
    codes = base.looks.codes(base.data.ids[:5])
    summed = rows[torch.arange(GROUPS), codes].sum(1)  # of the sixteen words of each person
    turned = torch.nn.functional.normalize(summed[:, : base.looks.rotation.shape[0]], dim=-1)
    assert_close(turned @ base.looks.rotation.T, base.looks.decode(codes), atol=1e-5, rtol=0)


def test_a_new_text_model_tells_look_words_apart_by_their_centres(smoke_build):
    sizes, words = smoke_build.config.sizes, look_words()
    text = models.new_text_model(sizes, smoke_build.tokenizer)
    before = text.get_input_embeddings().weight.detach().clone()
    models.say_looks(text, smoke_build.tokenizer, words, smoke_build.looks.token_rows(sizes.text_width))
    change = text.get_input_embeddings().weight.detach() - before
    ids = torch.tensor(smoke_build.tokenizer.convert_tokens_to_ids([f"{word}</w>" for word in words]))
    assert_close(change[ids], smoke_build.looks.token_rows(sizes.text_width), atol=1e-6, rtol=0)
    others = torch.ones(len(change), dtype=torch.bool)
    others[ids] = False
    assert not change[others].any()


def test_a_step_of_the_base_has_all_its_terms(smoke_build):
    recipe = smoke_build.base_recipe(identity=True)
    recipe.config = dataclasses.replace(
        recipe.config, batch=8, face_share=0.5, taught_share=0.25, context_dropout=0.0
    )
    terms = recipe.step(torch.Generator().manual_seed(0))
    assert set(terms) == {"words", "faces", "taught", "identity", "drawn", "scenes"}
    assert all(float(term.detach()) > 0 for term in terms.values())


def test_words_of_scenes_say_who_is_to_be_drawn_and_put_nothing_on_them(smoke_build):
    base = smoke_build.base_recipe(identity=True)
    base.config = dataclasses.replace(base.config, look_share=0.0)  # scenes name the look all the same
    captions = []
    base.token_ids = lambda texts: captions.extend(texts) or type(base).token_ids(base, texts)
    context, ids = base.scene_contexts(3, torch.Generator().manual_seed(0))
    assert len(context) == len(ids) == len(captions) == 3
    whose = base.looks.codes(ids).tolist()
    own = [[look_words()[group * CODES + code] for group, code in enumerate(row)] for row in whose]
    assert all(set(words) & set(text.split()) for words, text in zip(own, captions, strict=True))
    assert len(base.scenes) and not base.data.facts.accessory[base.scenes].any()
    assert (base.data.facts.background + base.data.facts.style)[base.scenes].all()


def test_likeness_in_scenes_counts_by_its_own_weight_and_leaves_the_layout_alone(smoke_build):
    base = smoke_build.base_recipe(identity=True)
    asked, gaps = [], torch.tensor([1.0, 3.0, 2.0, 4.0, 6.0])
    base.drawn = lambda context, ids, generator, layout: asked.append(layout.tolist()) or gaps
    base.config = dataclasses.replace(
        base.config, drawn_weight=0.5, drawn_pictures=5, drawn_share=0.4, scene_weight=0.1
    )
    terms = base.drawn_terms(torch.Generator().manual_seed(0))
    assert {name: round(float(term), 6) for name, term in terms.items()} == {
        "drawn": 0.5 * 2,
        "scenes": 0.05 * 4,
    }
    assert asked == [[True, True, False, False, False]]
    base.config = dataclasses.replace(base.config, drawn_share=1.0)
    assert set(base.drawn_terms(torch.Generator().manual_seed(0))) == {"drawn"}


EAST, NORTH = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])


def test_without_a_share_between_people_stay_who_they_are():
    ids, others = EAST.repeat(50, 1), NORTH.repeat(50, 1)
    assert torch.equal(between(ids, others, 0.0, torch.Generator().manual_seed(0)), ids)


def test_somebody_between_two_people_is_on_the_arc_and_nearer_to_the_one_who_was_drawn(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.full(shape, 0.5))  # so t is a quarter
    found = between(EAST, NORTH, 1.0, torch.Generator())
    assert_close(found, torch.tensor([[3.0, 1.0]]) / 10**0.5)  # normalize(3/4, 1/4)


def test_people_between_two_are_spread_over_the_nearer_half_of_the_arc():
    people = between(EAST.repeat(2000, 1), NORTH.repeat(2000, 1), 1.0, torch.Generator().manual_seed(0))
    assert_close(people.norm(dim=-1), torch.ones(2000))
    degrees = torch.rad2deg(torch.atan2(people[:, 1], people[:, 0]))
    assert 0 <= float(degrees.min()) < 1 and 44 < float(degrees.max()) <= 45


def test_the_share_says_how_many_lie_between():
    people = between(EAST.repeat(2000, 1), NORTH.repeat(2000, 1), 0.6, torch.Generator().manual_seed(0))
    assert float((people[:, 1] > 0).float().mean()) == pytest.approx(0.6, abs=0.04)


@pytest.mark.parametrize(("share", "known"), [(0.0, True), (1.0, False)])
def test_the_teacher_is_told_and_asked_for_the_same_people(smoke_build, monkeypatch, share, known):
    base = smoke_build.base_recipe(identity=True)
    base.config = dataclasses.replace(
        base.config, drawn_pictures=4, drawn_share=1.0, drawn_weight=1.0, between_share=share
    )
    monkeypatch.setattr(base.prompter, "context", lambda ids: ids)
    asked = []
    base.drawn = lambda told, ids, generator, layout: asked.append((told, ids)) or torch.ones(4)
    base.drawn_terms(torch.Generator().manual_seed(0))
    [(told, ids)] = asked
    assert torch.equal(told, ids)
    assert ((ids[:, None] == base.data.ids[base.plain]).all(-1).any(-1) == known).all()


def test_the_teacher_learns_nothing_from_the_words_that_it_teaches(smoke_build):
    recipe = smoke_build.base_recipe()
    recipe.config = dataclasses.replace(recipe.config, batch=8, taught_share=0.25, context_dropout=0.0)
    for module in recipe.modules.values():
        module.zero_grad()
    recipe.step(torch.Generator().manual_seed(0))["taught"].backward()
    assert any(p.grad is not None and p.grad.any() for p in recipe.text.parameters())
    assert not any(p.grad is not None and p.grad.any() for p in recipe.id_text.parameters())


def test_predicted_velocities_mean_clean_latents(base):
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=generator)
    timesteps = base.timesteps(torch.tensor([0.0, 0.5, 0.999]))
    noisy = base.scheduler.add_noise(clean, noise, timesteps)
    velocity = base.scheduler.get_velocity(clean, noise, timesteps)
    assert_close(base.clean(noisy, velocity, timesteps), clean, atol=1e-5, rtol=0)


def test_noise_levels_are_even_with_more_in_the_uppermost_fifth(base):
    share = base.draw_times(20_000, torch.Generator().manual_seed(0))
    assert float(share.min()) >= 0 and float(share.max()) < 1
    assert float((share >= 0.8).float().mean()) == pytest.approx(0.3 + 0.7 * 0.2, abs=0.02)
    assert float((share < 0.4).float().mean()) == pytest.approx(0.7 * 0.4, abs=0.02)


def test_the_encoder_sees_the_losses_of_faces_when_asked_to(smoke_build):
    step = smoke_build.config.encoder_step
    recipe = EncoderRecipe(smoke_build_encoder(smoke_build), smoke_build.base_recipe(identity=True), step)
    assert set(recipe.step(torch.Generator().manual_seed(0))) == {"distill", "identity", "drawn"}
    recipe.config = dataclasses.replace(step, identity_weight=0.0, drawn_weight=0.0)
    assert set(recipe.step(torch.Generator().manual_seed(0))) == {"distill"}


def test_the_encoder_learns_from_people_between_two_except_where_the_identity_loss_reads_photos(smoke_build):
    base = smoke_build.base_recipe(identity=True)
    step = dataclasses.replace(
        smoke_build.config.encoder_step,
        batch=12, between_share=1.0, id_noise=0.0, identity_weight=1.0, identity_pictures=1,
    )  # fmt: skip
    recipe = EncoderRecipe(smoke_build_encoder(smoke_build), base, step)
    rows, ids = recipe.draw(torch.Generator().manual_seed(0))
    assert_close(ids[:4], base.data.ids[rows[:4]])
    kept = (ids * base.data.ids[rows]).sum(-1)[4:]
    assert (kept > 0.5).all() and (kept < 1 - 1e-4).any()


@pytest.mark.parametrize(("first", "read"), [(7, [7]), (8, [])])
def test_the_identity_loss_reads_no_photo_of_people_between_two(smoke_build, monkeypatch, first, read):
    """Of twelve samples the first eight are of their photos' people; the noise fits from `first` on."""
    base = smoke_build.base_recipe(identity=True)
    step = dataclasses.replace(
        smoke_build.config.encoder_step,
        batch=12, identity_weight=0.5, identity_pictures=2, drawn_weight=0.0,
    )  # fmt: skip
    recipe = EncoderRecipe(smoke_build_encoder(smoke_build), base, step)
    base.config = dataclasses.replace(base.config, identity_times=(0.12, 0.7))
    rows, asked = base.plain[torch.arange(12) % len(base.plain)], []
    monkeypatch.setattr(recipe, "draw", lambda generator: (rows, base.data.ids[rows]))
    fits = torch.arange(12) >= first
    monkeypatch.setattr(base, "draw_times", lambda count, generator: torch.where(fits, 0.5, 0.99))
    monkeypatch.setattr(base, "identity", lambda clean, of, _: asked.extend(of.tolist()) or torch.tensor(3.0))
    terms = recipe.step(torch.Generator().manual_seed(0))
    assert asked == rows[read].tolist()
    assert [float(terms[name]) for name in terms if name == "identity"] == [1.5] * len(read)


def test_half_of_what_the_encoder_draws_is_plain_and_half_a_scene(smoke_build, monkeypatch):
    base = smoke_build.base_recipe(identity=True)
    step = dataclasses.replace(smoke_build.config.encoder_step, batch=8, drawn_pictures=5, drawn_weight=2.0)
    recipe = EncoderRecipe(smoke_build_encoder(smoke_build), base, step)
    told, asked = [], []
    monkeypatch.setattr(recipe, "scene", lambda generator: "a scene with {}")
    fill = recipe.fill
    monkeypatch.setattr(recipe, "fill", lambda text, rows: told.append((text, len(rows))) or fill(text, rows))

    def gaps(context, ids, generator):
        asked.append((len(context), ids))
        return torch.tensor([1.0, 1, 1, 2, 2])

    monkeypatch.setattr(base, "drawn", gaps)
    terms = recipe.step(torch.Generator().manual_seed(0))
    [(plain, some), scene] = told[-2:]
    assert plain in TEMPLATES and some == 3 and scene == ("a scene with {}", 2)
    [(count, ids)] = asked
    assert count == 5 and torch.equal(ids, recipe.draw(torch.Generator().manual_seed(0))[1][-5:])
    assert float(terms["drawn"]) == pytest.approx(2.0 * 7 / 5)


class Echo:
    """A text encoder whose features are its input rows."""

    def __init__(self, encoder):
        self.embed_tokens, self.max_length = encoder.embed_tokens, encoder.max_length

    def __call__(self, rows):
        return rows


@pytest.mark.parametrize("template", ["a photo of {}", "a photo of a {} person", "{}"])
def test_subject_rows_stand_where_the_commas_were(smoke_build, template):
    base = smoke_build.base_recipe()
    recipe = EncoderRecipe(smoke_build_encoder(smoke_build), base, smoke_build.config.encoder_step)
    base.encoder = Echo(base.encoder)
    subject = torch.randn(2, 16, 128)
    filled = recipe.fill(template, subject)
    ids = base.token_ids([template.format(" ".join([FILL] * 16))])[0]
    comma = base.tokenizer.convert_tokens_to_ids(FILL + "</w>")
    assert int((ids == comma).sum()) == 16
    assert torch.equal(filled[:, ids == comma], subject)
    rest = base.encoder.embed_tokens(ids[None])[0, ids != comma]
    assert torch.equal(filled[:, ids != comma], rest.expand(2, -1, -1))


def smoke_build_encoder(smoke_build):
    from adaface.mini.build import new_encoder

    return new_encoder(smoke_build)


def test_every_recipe_shows_what_it_does(smoke_build, base):
    encoder, step = smoke_build_encoder(smoke_build), smoke_build.config.encoder_step
    assert base.sample().size == (8 * 128, 3 * 128)
    assert EncoderRecipe(encoder, base, step).sample().size == (8 * 128, 4 * 128)
    assert WordsRecipe(encoder, base, step).sample() is None
    vae = VaeRecipe(smoke_build.vae, smoke_build.world, smoke_build.config.vae_step)
    assert vae.sample().size == (8 * 128, 4 * 128)


def test_few_plain_photos_are_enough_for_a_sample(smoke_build):
    base = smoke_build.base_recipe()
    base.plain = base.plain[:3]
    assert base.sample().size == (3 * 128, 3 * 128)
    recipe = EncoderRecipe(smoke_build_encoder(smoke_build), base, smoke_build.config.encoder_step)
    assert recipe.sample().size == (3 * 128, 4 * 128)


def test_whitened_latents_decode_to_the_same_pictures():
    generator = torch.Generator().manual_seed(0)
    vae = models.new_vae(preset("smoke").sizes).eval()
    pictures = torch.rand(16, 3, 64, 64, generator=generator) * 2 - 1
    with torch.no_grad():
        before = vae.encode(pictures).latent_dist
        shown = vae.decode(before.mode()).sample
        values = before.mode().transpose(0, 1).flatten(1)
        models.whiten_latents(vae, values.mean(1), values.std(1))
        after = vae.encode(pictures).latent_dist
        assert_close(vae.decode(after.mode()).sample, shown, atol=1e-4, rtol=1e-4)
        noise = torch.randn(after.mean.shape, generator=generator)
        white = after.mean.transpose(0, 1).flatten(1)
        assert_close(white.mean(1), torch.zeros(4), atol=1e-4, rtol=0)
        assert_close(white.std(1), torch.ones(4), atol=1e-4, rtol=0)
        spread = after.std * values.std(1).view(1, -1, 1, 1)
        assert_close(spread * noise, before.std * noise, atol=1e-4, rtol=1e-3)


def test_the_cache_keeps_no_pictures(smoke_build, monkeypatch):
    seen = []
    view = World.view

    def watched(self, *arguments, **rest):
        assert not [past for past in seen if past() is not None][1:], "only the batch at hand is alive"
        batch = view(self, *arguments, **rest)
        seen.append(weakref.ref(batch.pictures))
        return batch

    monkeypatch.setattr(World, "view", watched)
    told = []
    data = cache(
        smoke_build.world,
        smoke_build.vae,
        torch.Generator().manual_seed(0),
        plain=2,
        composed=2,
        close=1,
        progress=told.append,
    )
    assert len(seen) == 5 and sum(told) == len(data)
    assert {t.device.type for t in (data.latents, data.landmarks, data.ids, data.facts.framing)} == {"cpu"}


def test_the_world_without_a_classifier_knows_persons_only(smoke_build):
    pack = smoke_build.world.packs[0]
    plain = World(pack, pack.take(torch.arange(0, 4)), Segmenter())
    assert [words.tolist() for words in plain.class_words] == [[0] * len(pack), [0] * 4]


def test_the_gpu_loops_leave_time_for_the_rest_of_half_an_hour():
    loops = ("segmenter", "vae", "base", "identity", "clip", "clip", "words", "encoder")
    assert sum(getattr(PRESETS["gpu"], name).seconds for name in loops) <= 22 * 60


def test_the_second_clip_sees_nobody_whom_the_first_one_sees(monkeypatch):
    monkeypatch.setattr("adaface.mini.recipes.clip.decode", lambda vae, latents: latents[:, :3])
    person = torch.tensor([3, 3, 4, 8, -1, -1, 5, 4])
    nothing = torch.zeros(len(person), 4, 8, 8)
    data = LatentSet(latents=nothing, landmarks=nothing, ids=nothing, person=person, facts=None)
    first, second = (
        ClipRecipe(torch.nn.Linear(1, 1), None, None, data, ClipConfig(fold=fold)) for fold in (0, 1)
    )
    assert sorted(first.rows.tolist()) == [2, 3, 4, 7] and sorted(second.rows.tolist()) == [0, 1, 5, 6]
