import pytest, torch
from adaface.recipes.registry import open_recipe
from adaface.recipes.composition.prompts import *
from adaface.recipes.composition import step as S
from adaface.losses.orthogonal import orthogonal
from adaface.training.plan import sample_generator, step_generator, Part
from adaface.training.step import Stepper
from adaface.training.distributed import ONE
ALL = dict(words=0.0, features=0.0, face=0.0, background=0.0, matches=0.0, leak=0.0, attention=0.0, norm=0.0, outside=0.0, target=0.0, identity=0.0)
def test_x(settings):
    res = {}
    for frozen, precision in [("fp32","fp32"),("fp32","bf16"),("bf16","bf16"),("bf16","fp32")]:
      for moved in (0, 1):
        config = settings(compose={"weights": {**ALL, "words": 1.0}}, batch=6, frozen=frozen, loop={"precision": precision, "max_grad_norm": 1e9})
        recipe = open_recipe(config, torch.device("cpu"))
        stepper = Stepper(recipe, config.loop, ONE)
        step = recipe.step.steps["compose"]
        if moved:
            with torch.no_grad():
                for p in recipe.models.encoder.parameters():
                    p += 0.02 * p.std().nan_to_num(0) * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
        plan = recipe.draw(1, step_generator(0, 1), 0.0)
        batch = recipe.photos.batch(recipe.loader.take(plan, Part()))
        with stepper.autocast():
            said = [step.grammar.draw(sample_generator(seed)) for seed in S.derived(batch.seeds, S._WORDS)]
            subjects, anchors = step.rows_of(batch)
            four = four_prompts(step.models.denoiser.prompts, said, batch.words, anchors, subjects)
            f, w = side_by_side(step.models.denoiser.prompts, said, batch.words, four, 16)
            loss = S.prompt_delta(*f, w)
        print("==", frozen, precision, "moved", moved, subjects.dtype, f[1].dtype)
        for i, c in enumerate(said):
            g = torch.autograd.grad(loss[i], list(recipe.models.encoder.parameters()), retain_graph=True, allow_unused=True)
            g = torch.cat([x.flatten() for x in g if x is not None])
            key=(moved,i); 
            ref = res.setdefault(key, g)
            a = orthogonal(f[1], f[0])[i].norm(dim=-1); b = orthogonal(f[3], f[2])[i].norm(dim=-1)
            pl = four.subject_composed.places[i]
            print(f"{c.composed!r:60s} loss {float(loss[i].detach()):.4f} grad {float(g.norm()):9.3f} cos {float(torch.cosine_similarity(g,ref,dim=0)):.4f} subj delta {float(a[pl].detach().mean()):.2e} class delta {float(b[pl].mean()):.2e}")
        recipe.close()
